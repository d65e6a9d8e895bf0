/* Events that wait to be read: a restore begins with none, whatever else comes is told; a tree that goes on has
 * them all. */
#include "../notify.h"
int main(void)
{
	int fd = OK(inotify_init1(0));
	touch("f");
	int wd = OK(inotify_add_watch(fd, "f", IN_ATTRIB | IN_MODIFY));
	OK(chmod("f", 0640));
	append("f");
	checkpoint();
	if (!restored()) {
		EVENT(fd, wd, IN_ATTRIB, "");
		EVENT(fd, wd, IN_MODIFY, "");
	}
	quiet(fd);
	OK(chmod("f", 0600));
	EVENT(fd, wd, IN_ATTRIB, "");
	return pass();
}
