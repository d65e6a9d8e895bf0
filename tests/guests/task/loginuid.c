/* The login uid of the audit system, of this process and of a child that has none. */
#include "../guest.h"
static long long login(pid_t pid)
{
	char path[64], text[32] = "";
	snprintf(path, sizeof path, "/proc/%d/loginuid", (int)pid);
	int fd = open(path, O_RDONLY);
	if (fd < 0)
		SKIP("the kernel has no audit system");
	CHECK(read(fd, text, sizeof text - 1) > 0);
	close(fd);
	return strtoll(text, NULL, 10);
}
int main(void)
{
	long long before = login(getpid());
	if (before != 4294967295)
		SKIP("the login uid is set already, and may be set only once");
	pid_t pid = OK(fork());
	if (!pid) {
		wait_go();
		EQ(login(getpid()), before);
		_exit(0);
	}
	if (put("/proc/self/loginuid", "4242") < 0)
		SKIP("the login uid may not be set here");
	checkpoint();
	EQ(login(getpid()), 4242);
	reap_ok(pid);
	return pass();
}
