/* What was watched has another name by now, or one of its names has gone: the watch is on the inode. */
#include "../notify.h"
int main(void)
{
	int fd = OK(inotify_init1(0));
	touch("old");
	touch("one");
	touch("replaced");
	OK(mkdir("d", 0700));
	OK(mkdir("d/sub", 0700));
	touch("d/sub/deep");
	int old = OK(inotify_add_watch(fd, "old", IN_ATTRIB));
	int one = OK(inotify_add_watch(fd, "one", IN_ATTRIB));
	int replaced = OK(inotify_add_watch(fd, "replaced", IN_MODIFY));
	int deep = OK(inotify_add_watch(fd, "d/sub/deep", IN_ATTRIB));
	int sub = OK(inotify_add_watch(fd, "d/sub", IN_CREATE));
	OK(rename("old", "new"));
	OK(link("one", "two"));
	EVENT(fd, one, IN_ATTRIB, "");
	OK(unlink("one"));
	EVENT(fd, one, IN_ATTRIB, "");
	OK(rename("replaced", "kept"));
	touch("replaced");
	OK(rename("d", "e"));
	const char *before = watched(fd);
	checkpoint();
	STR_EQ(watched(fd), before);
	quiet(fd);
	OK(chmod("new", 0640));
	EVENT(fd, old, IN_ATTRIB, "");
	OK(chmod("two", 0640));
	EVENT(fd, one, IN_ATTRIB, "");
	append("replaced");
	append("kept");
	EVENT(fd, replaced, IN_MODIFY, "");
	OK(chmod("e/sub/deep", 0640));
	EVENT(fd, deep, IN_ATTRIB, "");
	touch("e/sub/more");
	EVENT(fd, sub, IN_CREATE, "more");
	quiet(fd);
	return pass();
}
