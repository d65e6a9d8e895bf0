/* Watches in the directory `below`, which the test has made. */
#include "../notify.h"
int main(void)
{
	int fd = OK(inotify_init1(0));
	int d = OK(inotify_add_watch(fd, "below/d", IN_CREATE));
	int f = OK(inotify_add_watch(fd, "below/d/f", IN_ATTRIB));
	checkpoint();
	quiet(fd);
	touch("below/d/new");
	EVENT(fd, d, IN_CREATE, "new");
	OK(chmod("below/d/f", 0640));
	EVENT(fd, f, IN_ATTRIB, "");
	return pass();
}
