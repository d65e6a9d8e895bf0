/* Descriptors for signals: shared over a fork, two with overlapping masks, an empty mask, and one that is waited for. */
#include "../guest.h"
#include <pthread.h>
#include <sys/signalfd.h>
static int awaited;
static void *waiter(void *arg)
{
	struct signalfd_siginfo i;
	EQ(read(awaited, &i, sizeof i), sizeof i);
	EQ(i.ssi_signo, SIGRTMIN + 5);
	return arg;
}
static sigset_t of(int a, int b)
{
	sigset_t m;
	sigemptyset(&m);
	if (a)
		sigaddset(&m, a);
	if (b)
		sigaddset(&m, b);
	return m;
}
int main(void)
{
	sigset_t all, m;
	sigfillset(&all);
	OK(sigprocmask(SIG_BLOCK, &all, NULL));
	m = of(SIGUSR1, SIGUSR2);
	int both = OK(signalfd(-1, &m, SFD_NONBLOCK)), twin = OK(dup(both));
	m = of(SIGUSR2, SIGTERM);
	int other = OK(signalfd(-1, &m, SFD_NONBLOCK | SFD_CLOEXEC));
	m = of(0, 0);
	int none = OK(signalfd(-1, &m, SFD_NONBLOCK));
	m = of(SIGRTMIN + 5, 0);
	awaited = OK(signalfd(-1, &m, 0));
	pid_t kid = OK(fork());
	if (!kid) {
		struct signalfd_siginfo i;
		OK(kill(getpid(), SIGUSR1));
		wait_go();
		/* The same description, but the signals of whoever reads. */
		EQ(read(twin, &i, sizeof i), sizeof i);
		EQ(i.ssi_signo, SIGUSR1);
		EQ(i.ssi_pid, getpid());
		ERR(read(both, &i, sizeof i), EAGAIN);
		_exit(0);
	}
	pthread_t t;
	EQ(pthread_create(&t, NULL, waiter, NULL), 0);
	OK(kill(getpid(), SIGUSR2));
	OK(kill(getpid(), SIGTERM));
	for (int i = 0; i < 3; i++)
		OK(sigqueue(getpid(), SIGRTMIN + 6, (union sigval){ .sival_int = i }));
	checkpoint();
	struct signalfd_siginfo i;
	CHECK(same_description(both, twin));
	EQ(read(other, &i, sizeof i), sizeof i);
	EQ(i.ssi_signo, SIGUSR2);
	ERR(read(both, &i, sizeof i), EAGAIN);
	EQ(read(other, &i, sizeof i), sizeof i);
	EQ(i.ssi_signo, SIGTERM);
	ERR(read(none, &i, sizeof i), EAGAIN);
	m = of(SIGRTMIN + 6, 0);
	OK(signalfd(none, &m, 0));
	struct signalfd_siginfo three[4];
	EQ(read(none, three, sizeof three), 3 * sizeof i);
	for (int k = 0; k < 3; k++)
		EQ(three[k].ssi_int, k);
	EQ(fcntl(other, F_GETFD), FD_CLOEXEC);
	OK(kill(getpid(), SIGRTMIN + 5));
	EQ(pthread_join(t, NULL), 0);
	reap_ok(kid);
	return pass();
}
