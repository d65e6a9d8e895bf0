/* What of a process goes into a core dump. */
#include "../guest.h"
static unsigned long filter(void)
{
	char text[32] = "";
	int fd = OK(open("/proc/self/coredump_filter", O_RDONLY | O_CLOEXEC));
	OK(read(fd, text, sizeof text - 1));
	close(fd);
	return strtoul(text, NULL, 16);
}
int main(void)
{
	unsigned long before = filter();
	struct latch ready[2] = { latch_new(), latch_new() };
	pid_t child[2];
	for (int i = 0; i < 2; i++) {
		child[i] = OK(fork());
		if (!child[i]) {
			OK(put("/proc/self/coredump_filter", i ? "0x1ff" : "0"));
			latch_open(ready[i]);
			wait_go();
			EQ(filter(), i ? 0x1ff : 0);
			_exit(0);
		}
	}
	latch_wait(ready[0]);
	latch_wait(ready[1]);
	checkpoint();
	EQ(filter(), before);
	reap_ok(child[0]);
	reap_ok(child[1]);
	return pass();
}
