/* POSIX timers of every clock: processor time of this thread, another thread, a child; for a thread alone. */
#include "../guest.h"
#include <pthread.h>
static pthread_barrier_t set, go;
static pid_t tid;
static volatile int got, where;
static void on(int s, siginfo_t *i, void *c)
{
	(void)s, (void)c;
	where = syscall(SYS_gettid);
	got = i->si_value.sival_int;
}
static void *run(void *arg)
{
	tid = syscall(SYS_gettid);
	pthread_barrier_wait(&set);
	pthread_barrier_wait(&go);
	pthread_barrier_wait(&go);
	return arg;
}
int main(void)
{
	pthread_t t;
	struct sigaction sa = { .sa_sigaction = on, .sa_flags = SA_SIGINFO };
	OK(sigaction(SIGRTMIN, &sa, NULL));
	struct latch l = latch_new();
	pid_t child = OK(fork());
	if (!child) {
		latch_open(l);
		wait_go();
		pause();
		_exit(0);
	}
	latch_wait(l);
	pthread_barrier_init(&set, NULL, 2);
	pthread_barrier_init(&go, NULL, 2);
	pthread_create(&t, NULL, run, NULL);
	pthread_barrier_wait(&set);
	clockid_t clocks[] = {
		CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_BOOTTIME, CLOCK_TAI, CLOCK_PROCESS_CPUTIME_ID, CLOCK_THREAD_CPUTIME_ID,
		(~tid << 3) | 6, (~child << 3) | 2, (~child << 3) | 0, CLOCK_REALTIME_ALARM, CLOCK_BOOTTIME_ALARM,
	};
	enum { N = sizeof clocks / sizeof *clocks };
	int id[N];
	for (int i = 0; i < N; i++) {
		struct sigevent se = { .sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGRTMIN, .sigev_value.sival_int = i };
		se._sigev_un._tid = i % 2 ? tid : getpid();
		if (syscall(SYS_timer_create, clocks[i], &se, &id[i])) {
			CHECK(clocks[i] == CLOCK_REALTIME_ALARM || clocks[i] == CLOCK_BOOTTIME_ALARM); /* no real-time clock */
			id[i] = -1;
			continue;
		}
		struct itimerspec it = { { 7, 0 }, { 9000 + i, 1 } };
		OK(syscall(SYS_timer_settime, id[i], 0, &it, NULL));
	}
	checkpoint();
	for (int i = 0; i < N; i++) {
		struct itimerspec it;
		if (id[i] < 0)
			continue;
		OK(syscall(SYS_timer_gettime, id[i], &it));
		EQ(it.it_interval.tv_sec, 7);
		CHECK(it.it_value.tv_sec <= 9000 + i && it.it_value.tv_sec > 8000 + i);
	}
	struct itimerspec soon = { { 0, 0 }, { 0, 1 } };
	got = -1;
	OK(syscall(SYS_timer_settime, id[1], 0, &soon, NULL));
	while (got != 1)
		usleep(100);
	EQ(where, tid);
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	pthread_barrier_wait(&go);
	pthread_barrier_wait(&go);
	pthread_join(t, NULL);
	return pass();
}
