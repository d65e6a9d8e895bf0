/* Watches on what only descriptors lead to: a pipe, a memory file, a file that never had a name. */
#include "../notify.h"
int main(void)
{
	int fd = OK(inotify_init1(0)), ends[2];
	OK(pipe(ends));
	int memory = OK(memfd_create("memory", 0));
	int temporary = OK(open(".", O_TMPFILE | O_RDWR, 0600));
	int p = OK(inotify_add_watch(fd, behind(ends[0]), IN_ATTRIB));
	int m = OK(inotify_add_watch(fd, behind(memory), IN_ATTRIB));
	int t = OK(inotify_add_watch(fd, behind(temporary), IN_MODIFY | IN_DELETE_SELF));
	checkpoint();
	quiet(fd);
	OK(fchmod(ends[1], 0400)); /* not all kernels tell of writes */
	EVENT(fd, p, IN_ATTRIB, "");
	OK(fchmod(memory, 0400));
	EVENT(fd, m, IN_ATTRIB, "");
	EQ(write(temporary, "x", 1), 1);
	EVENT(fd, t, IN_MODIFY, "");
	quiet(fd);
	return pass();
}
