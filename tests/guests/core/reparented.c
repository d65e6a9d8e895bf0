/* Orphans that a subreaper took over are its children after the restore. */
#include "../guest.h"
int main(void)
{
	OK(prctl(PR_SET_CHILD_SUBREAPER, 1));
	struct latch l = latch_new();
	pid_t mid = OK(fork());
	if (!mid) {
		if (!OK(fork())) {
			latch_open(l);
			wait_go();
			_exit(7);
		}
		_exit(0);
	}
	reap_ok(mid);
	latch_wait(l);
	checkpoint();
	int st;
	OK(wait(&st));
	EQ(WEXITSTATUS(st), 7);
	ERR(wait(NULL), ECHILD);
	return pass();
}
