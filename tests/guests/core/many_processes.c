/* Sixty processes, five deep and wide. */
#include "../guest.h"
static void grow(int depth, struct latch up)
{
	pid_t kids[4];
	int n = depth == 0 ? 4 : depth == 1 ? 3 : depth == 2 ? 3 : 0;
	struct latch l[4];
	for (int i = 0; i < n; i++) {
		l[i] = latch_new();
		kids[i] = OK(fork());
		if (!kids[i]) {
			grow(depth + 1, l[i]);
			_exit(0);
		}
	}
	for (int i = 0; i < n; i++)
		latch_wait(l[i]);
	pid_t me = getpid(), parent = getppid();
	if (depth) {
		latch_open(up);
		wait_go();
		EQ(getppid(), parent);
	} else {
		checkpoint();
	}
	EQ(getpid(), me);
	for (int i = 0; i < n; i++)
		reap_ok(kids[i]);
}
int main(void)
{
	grow(0, latch_new());
	return pass();
}
