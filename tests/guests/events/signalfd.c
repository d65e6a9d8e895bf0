/* signalfd: its mask, the pending signals it then gives, another mask set later. */
#include "../guest.h"
#include <sys/signalfd.h>
int main(void)
{
	sigset_t m, other;
	sigemptyset(&m);
	sigaddset(&m, SIGUSR1);
	sigaddset(&m, SIGRTMIN + 1);
	sigemptyset(&other);
	sigaddset(&other, SIGUSR2);
	sigset_t block = m;
	sigaddset(&block, SIGUSR2);
	sigprocmask(SIG_BLOCK, &block, NULL);
	int a = OK(signalfd(-1, &m, SFD_NONBLOCK)), b = OK(signalfd(-1, &m, SFD_CLOEXEC));
	OK(signalfd(b, &other, 0));
	OK(kill(getpid(), SIGUSR1));
	OK(sigqueue(getpid(), SIGRTMIN + 1, (union sigval){ .sival_int = 321 }));
	checkpoint();
	struct signalfd_siginfo i;
	EQ(read(a, &i, sizeof i), sizeof i);
	EQ(i.ssi_signo, SIGUSR1);
	EQ(i.ssi_pid, getpid());
	EQ(read(a, &i, sizeof i), sizeof i);
	EQ(i.ssi_signo, SIGRTMIN + 1);
	EQ(i.ssi_int, 321);
	ERR(read(a, &i, sizeof i), EAGAIN);
	EQ(fcntl(b, F_GETFD), FD_CLOEXEC);
	OK(kill(getpid(), SIGUSR2));
	ERR(read(a, &i, sizeof i), EAGAIN);
	EQ(read(b, &i, sizeof i), sizeof i);
	EQ(i.ssi_signo, SIGUSR2);
	return pass();
}
