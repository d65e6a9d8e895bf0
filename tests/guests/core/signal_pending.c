/* Blocked signals stay pending, in order and with their siginfo: to the process and to one thread. */
#include "../guest.h"
#include <pthread.h>
static pthread_barrier_t set, go;
static void next(const sigset_t *mask, int signo, int code, int value)
{
	siginfo_t i = { 0 };
	struct timespec zero = { 0, 0 };
	EQ(syscall(SYS_rt_sigtimedwait, mask, &i, &zero, 8), signo); /* the C library hides SI_TKILL */
	EQ(i.si_code, code);
	EQ(i.si_pid, getpid());
	EQ(i.si_uid, getuid());
	if (code == SI_QUEUE)
		EQ(i.si_value.sival_int, value);
}
static void *run(void *arg)
{
	siginfo_t q = { .si_signo = SIGRTMIN + 2, .si_code = SI_QUEUE, .si_pid = getpid(), .si_uid = getuid() };
	pid_t tid = syscall(SYS_gettid);
	for (int i = 0; i < 3; i++) {
		q.si_value.sival_int = 100 + i;
		OK(syscall(SYS_rt_tgsigqueueinfo, getpid(), tid, SIGRTMIN + 2, &q));
	}
	syscall(SYS_tgkill, getpid(), tid, SIGUSR2);
	pthread_barrier_wait(&set);
	pthread_barrier_wait(&go);
	sigset_t one;
	sigemptyset(&one);
	sigaddset(&one, SIGRTMIN + 2);
	for (int i = 0; i < 3; i++)
		next(&one, SIGRTMIN + 2, SI_QUEUE, 100 + i);
	sigset_t usr2;
	sigemptyset(&usr2);
	sigaddset(&usr2, SIGUSR2);
	next(&usr2, SIGUSR2, SI_TKILL, 0);
	return arg;
}
int main(void)
{
	sigset_t all, pending;
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	pthread_t t;
	pthread_barrier_init(&set, NULL, 2);
	pthread_barrier_init(&go, NULL, 2);
	pthread_create(&t, NULL, run, NULL);
	pthread_barrier_wait(&set);
	for (int i = 0; i < 4; i++)
		sigqueue(getpid(), SIGRTMIN + 1, (union sigval){ .sival_int = i });
	kill(getpid(), SIGUSR1);
	kill(getpid(), SIGTERM);
	kill(getpid(), SIGTERM); /* a standard signal is pending once */
	checkpoint();
	sigpending(&pending);
	CHECK(sigismember(&pending, SIGUSR1) && sigismember(&pending, SIGTERM) && sigismember(&pending, SIGRTMIN + 1));
	CHECK(!sigismember(&pending, SIGUSR2));
	sigset_t one;
	sigemptyset(&one);
	sigaddset(&one, SIGRTMIN + 1);
	for (int i = 0; i < 4; i++)
		next(&one, SIGRTMIN + 1, SI_QUEUE, i);
	sigemptyset(&one);
	sigaddset(&one, SIGUSR1);
	next(&one, SIGUSR1, SI_USER, 0);
	sigemptyset(&one);
	sigaddset(&one, SIGTERM);
	next(&one, SIGTERM, SI_USER, 0);
	pthread_barrier_wait(&go);
	pthread_join(t, NULL);
	sigpending(&pending);
	for (int s = 1; s <= 64; s++)
		if (s != 32 && s != 33)
			EQ(sigismember(&pending, s), 0);
	return pass();
}
