/* Every bit of a mask that lasts: one shot, no events of unlinked children, a symbolic link itself, a mask for
 * nothing, a mask that grew. */
#include "../notify.h"
int main(void)
{
	int fd = OK(inotify_init1(IN_NONBLOCK));
	touch("once");
	touch("grown");
	touch("nothing");
	OK(mkdir("excl", 0700));
	OK(mkdir("only", 0700));
	OK(symlink("nowhere", "link"));
	int once = OK(inotify_add_watch(fd, "once", IN_ATTRIB | IN_ONESHOT));
	int excl = OK(inotify_add_watch(fd, "excl", IN_MODIFY | IN_EXCL_UNLINK));
	int link_wd = OK(inotify_add_watch(fd, "link", IN_ATTRIB | IN_DELETE_SELF | IN_DONT_FOLLOW));
	int only = OK(inotify_add_watch(fd, "only", IN_CREATE | IN_ONLYDIR));
	OK(inotify_add_watch(fd, "nothing", IN_ISDIR));
	int grown = OK(inotify_add_watch(fd, "grown", IN_ATTRIB));
	EQ(inotify_add_watch(fd, "grown", IN_MODIFY | IN_MASK_ADD), grown);
	const char *before = watched(fd);
	checkpoint();
	STR_EQ(watched(fd), before);
	quiet(fd);
	append("grown");
	EVENT(fd, grown, IN_MODIFY, "");
	OK(chmod("grown", 0644));
	EVENT(fd, grown, IN_ATTRIB, "");
	OK(chmod("once", 0644));
	EVENT(fd, once, IN_ATTRIB, "");
	EVENT(fd, once, IN_IGNORED, "");
	int file = OK(open("excl/file", O_CREAT | O_WRONLY, 0600));
	EQ(write(file, "x", 1), 1);
	EVENT(fd, excl, IN_MODIFY, "file");
	OK(unlink("excl/file"));
	EQ(write(file, "x", 1), 1);
	OK(lchown("link", 1, 1));
	EVENT(fd, link_wd, IN_ATTRIB, "");
	OK(unlink("link"));
	EVENT(fd, link_wd, IN_ATTRIB, "");
	EVENT(fd, link_wd, IN_DELETE_SELF, "");
	EVENT(fd, link_wd, IN_IGNORED, "");
	append("nothing");
	OK(mkdir("only/sub", 0700));
	EVENT(fd, only, IN_CREATE | IN_ISDIR, "sub");
	quiet(fd);
	return pass();
}
