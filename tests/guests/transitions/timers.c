/* A thousand alarms a second, a POSIX timer and a timerfd: nothing runs ahead, nothing stops. */
#include "../motion.h"
#include <sys/timerfd.h>
static volatile sig_atomic_t alarms, virtuals;
static volatile unsigned long ticks;
static void on_alarm(int s) { alarms++; }
static void on_virtual(int s) { virtuals++; }
static void on_tick(int s, siginfo_t *i, void *c) { ticks += 1 + i->si_overrun; }
static double began;
int main(void)
{
	motion_begin();
	struct sigaction a = { .sa_handler = on_alarm }, v = { .sa_handler = on_virtual, .sa_flags = SA_RESTART },
			 t = { .sa_sigaction = on_tick, .sa_flags = SA_SIGINFO | SA_RESTART };
	OK(sigaction(SIGALRM, &a, NULL));
	OK(sigaction(SIGVTALRM, &v, NULL));
	OK(sigaction(SIGRTMIN, &t, NULL));
	timer_t timer;
	struct sigevent e = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN };
	OK(timer_create(CLOCK_MONOTONIC, &e, &timer));
	struct itimerspec ms = { { 0, 1000000 }, { 0, 1000000 } };
	began = now(CLOCK_MONOTONIC);
	OK(timer_settime(timer, 0, &ms, NULL));
	int fd = OK(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK));
	OK(timerfd_settime(fd, 0, &ms, NULL));
	struct itimerval often = { { 0, 1000 }, { 0, 1000 } };
	OK(setitimer(ITIMER_REAL, &often, NULL));
	OK(setitimer(ITIMER_VIRTUAL, &often, NULL));
	in_motion();
	uint64_t read_ticks = 0, n;
	while (moving()) {
		int before = alarms, patience = 0;
		struct timespec pause = { 0, 100000 };
		while (alarms == before) {
			nanosleep(&pause, NULL);
			if (patience++ > 100000)
				FAIL("no alarm any more after %d", before);
		}
		if (read(fd, &n, 8) == 8)
			read_ticks += n;
		step();
	}
	double took = now(CLOCK_MONOTONIC) - began;
	CHECK(ticks > 0 && read_ticks > 0);
	/* None may tick faster than its period; what passes between a dump and a restore does not count. */
	if (ticks > took * 1000 + 2 || read_ticks > took * 1000 + 2 || alarms > took * 1000 + 2)
		FAIL("in %.3f s: %lu ticks, %llu of the descriptor, %d alarms", took, ticks,
		     (unsigned long long)read_ticks, (int)alarms);
	return pass();
}
