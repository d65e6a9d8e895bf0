/* A process in the group of a sibling, and in a group led by its parent. */
#include "../guest.h"
int main(void)
{
	struct latch l[2] = { latch_new(), latch_new() };
	pid_t a = OK(fork());
	if (!a) {
		OK(setpgid(0, 0));
		latch_open(l[0]);
		wait_go();
		EQ(getpgid(0), getpid());
		_exit(0);
	}
	latch_wait(l[0]);
	pid_t b = OK(fork());
	if (!b) {
		OK(setpgid(0, a));
		latch_open(l[1]);
		wait_go();
		EQ(getpgid(0), a);
		_exit(0);
	}
	latch_wait(l[1]);
	checkpoint();
	reap_ok(b);
	reap_ok(a);
	return pass();
}
