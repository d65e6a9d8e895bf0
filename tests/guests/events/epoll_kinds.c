/* Targets of every kind: pipe, fifo, sockets, timer, counter, signals, process, terminal, another set. */
#include "../guest.h"
#include <pty.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
enum { PIPE, FIFO, STREAM, DGRAM, TIMER, COUNTER, SIGNALS, PROCESS, MASTER, SLAVE, SET, KINDS };
int main(void)
{
	int e = OK(epoll_create1(EPOLL_CLOEXEC)), fd[KINDS], other[KINDS], pair[2];
	OK(pipe(pair));
	fd[PIPE] = pair[0];
	other[PIPE] = pair[1];
	OK(mkfifo("fifo", 0600));
	fd[FIFO] = OK(open("fifo", O_RDWR | O_NONBLOCK));
	OK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	fd[STREAM] = pair[0];
	other[STREAM] = pair[1];
	OK(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair));
	fd[DGRAM] = pair[0];
	other[DGRAM] = pair[1];
	fd[TIMER] = OK(timerfd_create(CLOCK_MONOTONIC, 0));
	fd[COUNTER] = OK(eventfd(0, 0));
	sigset_t m;
	sigemptyset(&m);
	sigaddset(&m, SIGUSR1);
	OK(sigprocmask(SIG_BLOCK, &m, NULL));
	fd[SIGNALS] = OK(signalfd(-1, &m, 0));
	pid_t kid = OK(fork());
	if (!kid) {
		pause();
		_exit(0);
	}
	fd[PROCESS] = OK(syscall(SYS_pidfd_open, kid, 0));
	OK(openpty(&fd[MASTER], &fd[SLAVE], NULL, NULL, NULL));
	fd[SET] = OK(epoll_create1(0));
	int inner = OK(eventfd(0, 0));
	struct epoll_event x = { EPOLLIN, { .u64 = 1000 } }, got[2 * KINDS];
	OK(epoll_ctl(fd[SET], EPOLL_CTL_ADD, inner, &x));
	for (int i = 0; i < KINDS; i++) {
		x.data.u64 = i;
		OK(epoll_ctl(e, EPOLL_CTL_ADD, fd[i], &x));
	}
	checkpoint();
	EQ(epoll_wait(e, got, KINDS, 0), 0);
	uint64_t one = 1;
	for (int i = 0; i < KINDS; i++) {
		switch (i) {
		case PIPE:
		case STREAM:
		case DGRAM:
			EQ(write(other[i], "x", 1), 1);
			break;
		case FIFO:
			EQ(write(fd[FIFO], "x", 1), 1);
			break;
		case TIMER:
			OK(timerfd_settime(fd[i], 0, &(struct itimerspec){ { 0, 0 }, { 0, 1 } }, NULL));
			break;
		case COUNTER:
			EQ(write(fd[i], &one, 8), 8);
			break;
		case SIGNALS:
			OK(kill(getpid(), SIGUSR1));
			break;
		case PROCESS:
			OK(kill(kid, SIGKILL));
			break;
		case MASTER:
			EQ(write(fd[SLAVE], "x", 1), 1);
			break;
		case SLAVE:
			EQ(write(fd[MASTER], "x\n", 2), 2);
			break;
		case SET:
			EQ(write(inner, &one, 8), 8);
			break;
		}
		unsigned long seen = 0;
		while (!(seen & 1UL << i)) {
			int n = epoll_wait(e, got, 2 * KINDS, 10000);
			if (n <= 0)
				FAIL("nothing of target %d", i);
			for (int k = 0; k < n; k++)
				seen |= 1UL << got[k].data.u64;
		}
		OK(epoll_ctl(e, EPOLL_CTL_DEL, fd[i], NULL));
	}
	return pass();
}
