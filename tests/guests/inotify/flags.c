/* Flags of the descriptor and of the description, and signals for events. */
#include "../notify.h"
#include <signal.h>
int main(void)
{
	int plain = OK(inotify_init1(0));
	int both = OK(inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
	int async = OK(inotify_init1(IN_NONBLOCK));
	OK(fcntl(async, F_SETOWN, getpid()));
	OK(fcntl(async, F_SETSIG, SIGRTMIN + 3));
	OK(fcntl(async, F_SETFL, O_NONBLOCK | O_ASYNC));
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGRTMIN + 3);
	OK(sigprocmask(SIG_BLOCK, &set, NULL));
	touch("f");
	int wd = OK(inotify_add_watch(async, "f", IN_ATTRIB));
	checkpoint();
	EQ(fcntl(plain, F_GETFL), O_RDONLY);
	EQ(fcntl(plain, F_GETFD), 0);
	EQ(fcntl(both, F_GETFL), O_RDONLY | O_NONBLOCK);
	EQ(fcntl(both, F_GETFD), FD_CLOEXEC);
	EQ(fcntl(async, F_GETFL), O_RDONLY | O_NONBLOCK | O_ASYNC);
	EQ(fcntl(async, F_GETOWN), getpid());
	EQ(fcntl(async, F_GETSIG), SIGRTMIN + 3);
	char buffer[256];
	ERR(read(both, buffer, sizeof buffer), EAGAIN);
	siginfo_t info;
	struct timespec none = { 0, 0 }, limit = { 5, 0 };
	ERR(sigtimedwait(&set, &info, &none), EAGAIN);
	OK(chmod("f", 0640));
	EQ(sigtimedwait(&set, &info, &limit), SIGRTMIN + 3);
	EVENT(async, wd, IN_ATTRIB, "");
	return pass();
}
