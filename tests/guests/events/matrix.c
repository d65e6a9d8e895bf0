/* Every kind at several places at once: dup, fork, another number in another process, passed, in a queue. */
#include "../guest.h"
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
enum { COUNTER, TIMER, SIGNALS, SET, PROCESS, KINDS };
static void give(int s, int fd)
{
	union {
		struct cmsghdr h;
		char room[CMSG_SPACE(sizeof(int))];
	} control = { .h = { .cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS } };
	memcpy(CMSG_DATA(&control.h), &fd, sizeof fd);
	struct iovec v = { "f", 1 };
	struct msghdr h = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control };
	EQ(sendmsg(s, &h, 0), 1);
}
static int take(int s)
{
	union {
		struct cmsghdr h;
		char room[CMSG_SPACE(sizeof(int))];
	} control;
	char c;
	struct iovec v = { &c, 1 };
	struct msghdr h = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control };
	EQ(recvmsg(s, &h, 0), 1);
	int fd;
	memcpy(&fd, CMSG_DATA(&control.h), sizeof fd);
	return fd;
}
int main(void)
{
	int fd[KINDS], box[2], queue[2], only[2];
	sigset_t m;
	sigemptyset(&m);
	sigaddset(&m, SIGUSR1);
	fd[COUNTER] = OK(eventfd(3, 0));
	fd[TIMER] = OK(timerfd_create(CLOCK_MONOTONIC, 0));
	fd[SIGNALS] = OK(signalfd(-1, &m, 0));
	fd[SET] = OK(epoll_create1(0));
	fd[PROCESS] = OK(syscall(SYS_pidfd_open, getpid(), 0));
	struct epoll_event x = { EPOLLIN, { .u64 = 5 } };
	OK(epoll_ctl(fd[SET], EPOLL_CTL_ADD, fd[COUNTER], &x));
	OK(socketpair(AF_UNIX, SOCK_STREAM, 0, box));
	OK(socketpair(AF_UNIX, SOCK_STREAM, 0, queue));
	OK(socketpair(AF_UNIX, SOCK_STREAM, 0, only));
	struct latch l = latch_new();
	pid_t parent = getpid(), kid = OK(fork());
	if (!kid) {
		for (int i = 0; i < KINDS; i++) {
			int got = take(box[1]);
			CHECK(same_description(got, fd[i]));
			OK(dup2(got, 100 + i));
			close(got);
			close(fd[i]);
		}
		close(queue[0]);
		close(queue[1]);
		close(only[0]);
		close(only[1]);
		latch_open(l);
		wait_go();
		char c;
		EQ(read(box[1], &c, 1), 1);
		for (int i = 0; i < KINDS; i++)
			EQ(fcntl(100 + i, F_GETFL) & O_NONBLOCK, O_NONBLOCK);
		uint64_t v;
		EQ(read(100 + COUNTER, &v, 8), 8);
		EQ(v, 3);
		char path[32];
		snprintf(path, sizeof path, "fdinfo/%d", 100 + PROCESS);
		EQ(proc_field(getpid(), path, "Pid", 10), parent);
		EQ(write(box[1], "y", 1), 1);
		_exit(0);
	}
	int copies[KINDS];
	for (int i = 0; i < KINDS; i++) {
		give(box[0], fd[i]);
		give(queue[0], fd[i]);
		copies[i] = OK(fcntl(fd[i], F_DUPFD_CLOEXEC, 200));
		/* Held by a queue alone. */
		int lone = i == COUNTER ? OK(eventfd(77, EFD_NONBLOCK)) : i == TIMER ? OK(timerfd_create(CLOCK_REALTIME, TFD_NONBLOCK)) :
			   i == SIGNALS ? OK(signalfd(-1, &m, SFD_NONBLOCK)) : i == SET ? OK(epoll_create1(0)) :
					  OK(syscall(SYS_pidfd_open, kid, O_NONBLOCK));
		give(only[0], lone);
		close(lone);
	}
	latch_wait(l);
	checkpoint();
	for (int i = 0; i < KINDS; i++) {
		int queued = take(queue[1]), lone = take(only[1]);
		CHECK(same_description(fd[i], queued));
		CHECK(same_description(fd[i], copies[i]));
		CHECK(!same_description(fd[i], lone));
		EQ(fcntl(copies[i], F_GETFD), FD_CLOEXEC);
		EQ(fcntl(fd[i], F_GETFD), i == PROCESS ? FD_CLOEXEC : 0);
		OK(fcntl(queued, F_SETFL, O_NONBLOCK));
		close(queued);
		uint64_t v;
		if (i == COUNTER) {
			EQ(read(lone, &v, 8), 8);
			EQ(v, 77);
		}
		if (i == PROCESS)
			OK(syscall(SYS_pidfd_send_signal, lone, 0, NULL, 0));
		close(lone);
	}
	struct epoll_event got;
	EQ(epoll_wait(fd[SET], &got, 1, 0), 1);
	EQ(got.data.u64, 5);
	EQ(write(box[0], "x", 1), 1);
	char c;
	EQ(read(box[0], &c, 1), 1);
	EQ(epoll_wait(fd[SET], &got, 1, 0), 0);
	reap_ok(kid);
	return pass();
}
