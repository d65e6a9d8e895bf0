/* Stopped by each of the signals that do so, which the parent is told of; SIGCONT is waited for. */
#include "../guest.h"
static const int signals[] = { SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU };
#define COUNT (sizeof signals / sizeof *signals)
int main(void)
{
	pid_t pids[COUNT];
	siginfo_t info;
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGCONT);
	sigaddset(&set, SIGUSR1);
	OK(sigprocmask(SIG_BLOCK, &set, NULL));
	struct latch there = latch_new();
	for (unsigned i = 0; i < COUNT; i++) {
		pids[i] = OK(fork());
		if (!pids[i]) {
			/* Of a group that is no orphan: others than SIGSTOP stop it only then. */
			OK(setpgid(0, 0));
			latch_open(there);
			int signal, seen = 0;
			for (int round = 0; round < 2; round++) {
				EQ(sigwait(&set, &signal), 0);
				seen |= 1 << signal;
			}
			EQ(seen, 1 << SIGCONT | 1 << SIGUSR1);
			_exit(40 + i);
		}
		latch_wait(there);
		OK(kill(pids[i], signals[i]));
		OK(waitid(P_PID, pids[i], &info, WSTOPPED | WNOWAIT));
	}
	checkpoint();
	for (unsigned i = 0; i < COUNT; i++) {
		OK(waitid(P_PID, pids[i], &info, WSTOPPED | WNOHANG));
		EQ(info.si_pid, pids[i]);
		EQ(info.si_code, CLD_STOPPED);
		EQ(info.si_status, signals[i]);
		OK(kill(pids[i], SIGCONT));
		OK(waitid(P_PID, pids[i], &info, WCONTINUED));
		EQ(info.si_code, CLD_CONTINUED);
		OK(kill(pids[i], SIGUSR1));
		OK(waitid(P_PID, pids[i], &info, WEXITED));
		EQ(info.si_status, 40 + (int)i);
	}
	return pass();
}
