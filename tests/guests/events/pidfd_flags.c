/* pidfds with all flags, of a first thread (PIDFD_THREAD), of a sibling, of a parent; shared over a fork, under other numbers. */
#include "../guest.h"
#define PIDFD_THREAD_ O_EXCL
static pid_t pid_of(int fd)
{
	char path[32];
	snprintf(path, sizeof path, "fdinfo/%d", fd);
	return (pid_t)proc_field(getpid(), path, "Pid", 10);
}
int main(void)
{
	pid_t one = OK(fork());
	if (!one) {
		wait_go();
		pause();
		_exit(0);
	}
	int fd[4] = { (int)OK(syscall(SYS_pidfd_open, one, 0)), (int)OK(syscall(SYS_pidfd_open, one, O_NONBLOCK)) };
	fd[2] = (int)syscall(SYS_pidfd_open, one, PIDFD_THREAD_);
	if (fd[2] < 0) /* before Linux 6.9 */
		fd[2] = (int)OK(dup(fd[0]));
	fd[3] = (int)OK(syscall(SYS_pidfd_open, getpid(), 0));
	int thread = fcntl(fd[2], F_GETFL) & PIDFD_THREAD_;
	struct latch l = latch_new(), seen = latch_new();
	pid_t parent = getpid(), two = OK(fork());
	if (!two) {
		for (int i = 0; i < 4; i++) {
			OK(dup2(fd[i], 60 - i));
			close(fd[i]);
		}
		int sibling = OK(syscall(SYS_pidfd_open, one, 0));
		latch_open(l);
		wait_go();
		for (int i = 0; i < 3; i++)
			EQ(pid_of(60 - i), one);
		EQ(pid_of(57), parent);
		EQ(pid_of(sibling), one);
		latch_open(seen);
		struct pollfd p = { sibling, POLLIN, 0 };
		EQ(poll(&p, 1, 10000), 1);
		ERR(waitid(P_PIDFD, sibling, &(siginfo_t){ 0 }, WEXITED), ECHILD);
		_exit(0);
	}
	latch_wait(l);
	checkpoint();
	EQ(fcntl(fd[0], F_GETFL) & O_NONBLOCK, 0);
	EQ(fcntl(fd[1], F_GETFL) & O_NONBLOCK, O_NONBLOCK);
	EQ(fcntl(fd[2], F_GETFL) & PIDFD_THREAD_, thread);
	siginfo_t i;
	ERR(waitid(P_PIDFD, fd[1], &i, WEXITED), EAGAIN);
	latch_wait(seen);
	OK(syscall(SYS_pidfd_send_signal, fd[0], SIGKILL, NULL, 0));
	OK(waitid(P_PIDFD, fd[0], &i, WEXITED));
	EQ(i.si_pid, one);
	EQ(i.si_status, SIGKILL);
	reap_ok(two);
	return pass();
}
