/* pidfds of the process itself, of a living child, of a zombie, of one that is reaped. */
#include "../guest.h"
int main(void)
{
	int self = OK(syscall(SYS_pidfd_open, getpid(), 0));
	pid_t kid = OK(fork());
	if (!kid) {
		wait_go();
		pause();
		_exit(0);
	}
	pid_t dead = OK(fork());
	if (!dead)
		_exit(6);
	siginfo_t i;
	OK(waitid(P_PID, dead, &i, WEXITED | WNOWAIT));
	int child = OK(syscall(SYS_pidfd_open, kid, O_NONBLOCK)), zombie = OK(syscall(SYS_pidfd_open, dead, 0));
	checkpoint();
	OK(syscall(SYS_pidfd_send_signal, self, 0, NULL, 0));
	struct pollfd p = { zombie, POLLIN, 0 }, q = { child, POLLIN, 0 };
	EQ(poll(&p, 1, 0), 1);
	EQ(poll(&q, 1, 0), 0);
	EQ(fcntl(child, F_GETFL) & O_NONBLOCK, O_NONBLOCK);
	EQ(proc_field(getpid(), ({ static char s[32]; snprintf(s, 32, "fdinfo/%d", child); s; }), "Pid", 10), kid);
	OK(waitid(P_PIDFD, zombie, &i, WEXITED));
	EQ(i.si_pid, dead);
	EQ(i.si_status, 6);
	OK(syscall(SYS_pidfd_send_signal, child, SIGKILL, NULL, 0));
	EQ(poll(&q, 1, 10000), 1);
	OK(waitid(P_PIDFD, child, &i, WEXITED));
	EQ(i.si_pid, kid);
	EQ(i.si_code, CLD_KILLED);
	return pass();
}
