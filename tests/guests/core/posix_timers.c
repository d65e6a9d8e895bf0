/* POSIX timers with their ids (and gaps between them), clocks, signals, values and overruns. */
#include "../guest.h"
static volatile int got, value, overrun;
static void on(int s, siginfo_t *i, void *c)
{
	(void)s, (void)c;
	got++;
	value = i->si_value.sival_int;
	overrun = i->si_overrun;
}
struct k { int id; clockid_t clock; int notify, signo; long value_s, interval_s; };
static struct k t[] = {
	{ -1, CLOCK_REALTIME, SIGEV_SIGNAL, 34 + 3, 5000, 50 },
	{ -1, CLOCK_MONOTONIC, SIGEV_NONE, 0, 6000, 0 },
	{ -1, CLOCK_BOOTTIME, SIGEV_SIGNAL, SIGUSR1, 7000, 7 },
	{ -1, CLOCK_MONOTONIC, SIGEV_SIGNAL, SIGUSR2, 0, 0 }, /* not armed */
	{ -1, CLOCK_PROCESS_CPUTIME_ID, SIGEV_SIGNAL, 34 + 4, 8000, 0 },
	{ -1, CLOCK_MONOTONIC, SIGEV_THREAD_ID, 34 + 5, 9000, 9 },
};
#define N (int)(sizeof t / sizeof *t)
int main(void)
{
	int spare[4];
	for (int i = 0; i < N; i++) {
		struct sigevent se = { .sigev_notify = t[i].notify, .sigev_signo = t[i].signo };
		se.sigev_value.sival_int = 0x1000 + i;
		if (t[i].notify == SIGEV_THREAD_ID)
			se._sigev_un._tid = getpid();
		if (i < 4) /* deleted later: a gap */
			OK(syscall(SYS_timer_create, CLOCK_MONOTONIC, NULL, &spare[i]));
		OK(syscall(SYS_timer_create, t[i].clock, &se, &t[i].id));
		struct itimerspec it = { { t[i].interval_s, 0 }, { t[i].value_s, 0 } };
		OK(syscall(SYS_timer_settime, t[i].id, 0, &it, NULL));
	}
	for (int i = 0; i < 4; i++)
		OK(syscall(SYS_timer_delete, spare[i]));
	checkpoint();
	for (int i = 0; i < N; i++) {
		struct itimerspec it;
		OK(syscall(SYS_timer_gettime, t[i].id, &it));
		EQ(it.it_interval.tv_sec, t[i].interval_s);
		if (t[i].value_s)
			CHECK(it.it_value.tv_sec <= t[i].value_s && it.it_value.tv_sec > t[i].value_s - 200);
		else
			EQ(it.it_value.tv_sec + it.it_value.tv_nsec, 0);
	}
	ERR(syscall(SYS_timer_delete, spare[0]), EINVAL);
	struct sigaction sa = { .sa_sigaction = on, .sa_flags = SA_SIGINFO };
	OK(sigaction(34 + 5, &sa, NULL));
	struct itimerspec soon = { { 0, 0 }, { 0, 1000000 } };
	OK(syscall(SYS_timer_settime, t[5].id, 0, &soon, NULL));
	while (!got)
		usleep(100);
	EQ(value, 0x1005);
	EQ(overrun, 0);
	int fresh;
	OK(syscall(SYS_timer_create, CLOCK_MONOTONIC, NULL, &fresh));
	for (int i = 0; i < N; i++)
		CHECK(fresh != t[i].id);
	for (int i = 0; i < N; i++)
		OK(syscall(SYS_timer_delete, t[i].id));
	return pass();
}
