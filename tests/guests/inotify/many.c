/* A thousand watches in one group. */
#include "../notify.h"
enum { N = 1000 };
int main(void)
{
	int fd = OK(inotify_init1(0));
	int wd[N];
	char name[16];
	for (int i = 0; i < N; i++) {
		snprintf(name, sizeof name, "f%d", i);
		touch(name);
		wd[i] = OK(inotify_add_watch(fd, name, IN_ATTRIB));
	}
	char *before = strdup(watched(fd));
	checkpoint();
	STR_EQ(watched(fd), before);
	quiet(fd);
	for (int i = 0; i < N; i++) {
		snprintf(name, sizeof name, "f%d", i);
		OK(chmod(name, 0640));
		EVENT(fd, wd[i], IN_ATTRIB, "");
	}
	return pass();
}
