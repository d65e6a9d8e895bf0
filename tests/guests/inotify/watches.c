/* Watches on a directory and on files: numbers, masks and order come back, no event comes of it, and events are
 * told by the same numbers as before. */
#include "../notify.h"
int main(void)
{
	int fd = OK(inotify_init1(0));
	OK(mkdir("d", 0700));
	touch("a");
	touch("d/b");
	int d = OK(inotify_add_watch(fd, "d", IN_CREATE | IN_DELETE | IN_MOVE));
	int a = OK(inotify_add_watch(fd, "a", IN_ALL_EVENTS));
	int b = OK(inotify_add_watch(fd, "d/b", IN_MODIFY | IN_DELETE_SELF));
	const char *before = watched(fd);
	checkpoint();
	STR_EQ(watched(fd), before);
	quiet(fd);
	append("a");
	EVENT(fd, a, IN_OPEN, "");
	EVENT(fd, a, IN_MODIFY, "");
	EVENT(fd, a, IN_CLOSE_WRITE, "");
	touch("d/new");
	EVENT(fd, d, IN_CREATE, "new");
	OK(rename("d/new", "d/newer"));
	EVENT(fd, d, IN_MOVED_FROM, "new");
	EVENT(fd, d, IN_MOVED_TO, "newer");
	append("d/b");
	EVENT(fd, b, IN_MODIFY, "");
	OK(unlink("d/b"));
	EVENT(fd, b, IN_DELETE_SELF, "");
	EVENT(fd, b, IN_IGNORED, "");
	EVENT(fd, d, IN_DELETE, "b");
	OK(inotify_rm_watch(fd, a));
	EVENT(fd, a, IN_IGNORED, "");
	quiet(fd);
	return pass();
}
