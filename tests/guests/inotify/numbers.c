/* Numbers with gaps, and far away ones: each watch keeps its own, and the next one is new. */
#include "../notify.h"
int main(void)
{
	int fd = OK(inotify_init1(0));
	int wd[20];
	for (int i = 0; i < 20; i++) {
		char name[16];
		snprintf(name, sizeof name, "f%d", i);
		touch(name);
		wd[i] = OK(inotify_add_watch(fd, name, IN_ATTRIB));
		if (i == 15) /* the numbers jump */
			for (int k = 0; k < 5000; k++) {
				int again = OK(inotify_add_watch(fd, ".", IN_ATTRIB));
				OK(inotify_rm_watch(fd, again));
			}
	}
	for (int i = 0; i < 19; i += 3)
		OK(inotify_rm_watch(fd, wd[i]));
	char buffer[4096];
	int left;
	while (ioctl(fd, FIONREAD, &left) == 0 && left > 0)
		OK(read(fd, buffer, sizeof buffer));
	CHECK(wd[16] > 5000);
	const char *before = watched(fd);
	checkpoint();
	STR_EQ(watched(fd), before);
	quiet(fd);
	for (int i = 0; i < 20; i++) {
		char name[16];
		snprintf(name, sizeof name, "f%d", i);
		OK(chmod(name, 0640));
		if (i % 3)
			EVENT(fd, wd[i], IN_ATTRIB, "");
	}
	int next = OK(inotify_add_watch(fd, "f0", IN_ATTRIB));
	EQ(next, wd[19] + 1);
	ERR(inotify_rm_watch(fd, wd[3]), EINVAL);
	quiet(fd);
	return pass();
}
