/* An event loop as programs have it: one epoll over eventfd, signalfd, timerfd, pidfd and a pipe. */
#include "../guest.h"
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
int main(void)
{
	sigset_t m;
	sigemptyset(&m);
	sigaddset(&m, SIGUSR1);
	sigprocmask(SIG_BLOCK, &m, NULL);
	pid_t kid = OK(fork());
	if (!kid) {
		wait_go();
		_exit(0);
	}
	int p[2], e = OK(epoll_create1(0));
	OK(pipe(p));
	int fd[5] = { OK(eventfd(0, 0)), OK(signalfd(-1, &m, 0)), OK(timerfd_create(CLOCK_BOOTTIME, 0)),
		      OK(syscall(SYS_pidfd_open, kid, 0)), p[0] };
	for (int i = 0; i < 5; i++) {
		struct epoll_event x = { EPOLLIN | EPOLLET, { .u32 = i } };
		OK(epoll_ctl(e, EPOLL_CTL_ADD, fd[i], &x));
	}
	checkpoint();
	EQ(write(fd[0], (uint64_t[]){ 5 }, 8), 8);
	OK(kill(getpid(), SIGUSR1));
	struct itimerspec it = { { 0, 0 }, { 0, 1000 } };
	OK(timerfd_settime(fd[2], 0, &it, NULL));
	EQ(write(p[1], "x", 1), 1);
	unsigned seen = 0;
	while (seen != 31) {
		struct epoll_event got;
		int n = epoll_wait(e, &got, 1, 10000);
		if (n < 1)
			FAIL("epoll_wait gave %d; events seen so far: %#x", n, seen);
		seen |= 1U << got.data.u32;
	}
	reap_ok(kid);
	return pass();
}
