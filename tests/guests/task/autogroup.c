/* The nice value of a session's autogroup, and of another session's. */
#include "../guest.h"
static int nice_of(pid_t pid)
{
	char path[64], text[128] = "";
	snprintf(path, sizeof path, "/proc/%d/autogroup", (int)pid);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		SKIP("this kernel has no autogroups");
	OK(read(fd, text, sizeof text - 1));
	close(fd);
	char *at = strstr(text, "nice ");
	return at ? atoi(at + 5) : 99;
}
int main(void)
{
	EQ(nice_of(getpid()), 0);
	struct latch ready = latch_new();
	pid_t child = OK(fork());
	if (!child) {
		OK(setsid());
		OK(put("/proc/self/autogroup", "11"));
		latch_open(ready);
		wait_go();
		EQ(nice_of(getpid()), 11);
		_exit(0);
	}
	latch_wait(ready);
	OK(put("/proc/self/autogroup", "-3"));
	checkpoint();
	EQ(nice_of(getpid()), -3);
	EQ(nice_of(child), 11);
	reap_ok(child);
	return pass();
}
