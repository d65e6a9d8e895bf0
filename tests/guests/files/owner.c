/* F_SETOWN, F_SETOWN_EX and F_SETSIG of files and pipes; signals go to the owner. */
#include "../guest.h"
int main(void)
{
	int f = OK(open("f", O_CREAT | O_RDWR, 0600)), g = OK(open("f", O_RDWR)), p[2], sig;
	struct f_owner_ex ex;
	OK(fcntl(f, F_SETOWN, getpid()));
	OK(fcntl(f, F_SETSIG, SIGRTMIN + 7));
	OK(fcntl(g, F_SETOWN, -getpgrp()));
	OK(pipe(p));
	sigset_t m;
	sigemptyset(&m);
	sigaddset(&m, SIGRTMIN + 8);
	sigprocmask(SIG_BLOCK, &m, NULL);
	OK(fcntl(p[0], F_SETOWN, getpid()));
	OK(fcntl(p[0], F_SETSIG, SIGRTMIN + 8));
	OK(fcntl(p[0], F_SETFL, O_ASYNC | O_NONBLOCK));
	checkpoint();
	EQ(fcntl(f, F_GETOWN), getpid());
	EQ(fcntl(f, F_GETSIG), SIGRTMIN + 7);
	OK(fcntl(g, F_GETOWN_EX, &ex));
	EQ(ex.type, F_OWNER_PGRP);
	EQ(ex.pid, getpgrp());
	EQ(fcntl(g, F_GETSIG), 0);
	EQ(fcntl(p[0], F_GETSIG), SIGRTMIN + 8);
	CHECK((fcntl(p[0], F_GETFL) & (O_ASYNC | O_NONBLOCK)) == (O_ASYNC | O_NONBLOCK));
	EQ(write(p[1], "x", 1), 1);
	siginfo_t i;
	struct timespec limit = { 10, 0 };
	sig = sigtimedwait(&m, &i, &limit);
	EQ(sig, SIGRTMIN + 8);
	EQ(i.si_fd, p[0]);
	return pass();
}
