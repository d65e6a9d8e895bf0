/* Owners and signals of both ends of a pipe and of a FIFO, each its own; signals come. */
#include "../guest.h"
int main(void)
{
	int p[2];
	OK(mkfifo("f", 0600));
	int f = OK(open("f", O_RDWR | O_NONBLOCK)), sig[3] = {SIGRTMIN + 1, SIGRTMIN + 2, SIGIO};
	OK(pipe2(p, O_NONBLOCK));
	sigset_t m;
	sigemptyset(&m);
	int fds[3] = {p[0], p[1], f};
	for (int i = 0; i < 3; i++) {
		sigaddset(&m, sig[i]);
		if (i < 2)
			OK(fcntl(fds[i], F_SETSIG, sig[i]));
		OK(fcntl(fds[i], F_SETOWN, i ? getpid() : -getpgrp()));
	}
	sigprocmask(SIG_BLOCK, &m, NULL);
	for (int i = 0; i < 3; i++)
		OK(fcntl(fds[i], F_SETFL, O_ASYNC | O_NONBLOCK));
	checkpoint();
	siginfo_t info;
	struct timespec none = {0, 0};
	struct f_owner_ex ex;
	for (int i = 0; i < 3; i++) {
		OK(fcntl(fds[i], F_GETOWN_EX, &ex));
		EQ(ex.type, i ? F_OWNER_PID : F_OWNER_PGRP);
		EQ(fcntl(fds[i], F_GETSIG), i < 2 ? sig[i] : 0);
		CHECK(fcntl(fds[i], F_GETFL) & O_ASYNC);
	}
	while (sigtimedwait(&m, &info, &none) > 0)
		;
	char byte;
	EQ(write(p[1], "x", 1), 1);
	EQ(sigtimedwait(&m, &info, &none), sig[0]);
	EQ(info.si_fd, p[0]);
	EQ(read(p[0], &byte, 1), 1);
	EQ(sigtimedwait(&m, &info, &none), sig[1]);
	EQ(write(f, "x", 1), 1);
	EQ(sigtimedwait(&m, &info, &none), SIGIO);
	return pass();
}
