/* The signal at the parent's death: kept, and sent when the parent dies after the restore. */
#include "../guest.h"
int main(void)
{
	OK(prctl(PR_SET_CHILD_SUBREAPER, 1));
	struct latch l = latch_new();
	pid_t mid = OK(fork());
	if (!mid) {
		if (!OK(fork())) {
			sigset_t m;
			int sig = 0;
			sigemptyset(&m);
			sigaddset(&m, SIGUSR2);
			sigprocmask(SIG_BLOCK, &m, NULL);
			OK(prctl(PR_SET_PDEATHSIG, SIGUSR2));
			latch_open(l);
			wait_go();
			OK(prctl(PR_GET_PDEATHSIG, &sig));
			EQ(sig, SIGUSR2);
			siginfo_t i;
			struct timespec limit = { 10, 0 };
			EQ(sigtimedwait(&m, &i, &limit), SIGUSR2);
			_exit(42);
		}
		wait_go();
		_exit(0);
	}
	latch_wait(l);
	checkpoint();
	reap_ok(mid);
	int st;
	OK(wait(&st));
	EQ(WEXITSTATUS(st), 42);
	return pass();
}
