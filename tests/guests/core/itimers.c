/* The three interval timers: running, with the time that was left. */
#include "../guest.h"
static volatile int ticks;
static void tick(int s) { (void)s; ticks++; }
int main(void)
{
	static const int which[] = { ITIMER_REAL, ITIMER_VIRTUAL, ITIMER_PROF };
	for (int i = 0; i < 3; i++) {
		struct itimerval it = { { 100 + i, 250000 }, { 1000 + i, 0 } };
		OK(setitimer(which[i], &it, NULL));
	}
	checkpoint();
	for (int i = 0; i < 3; i++) {
		struct itimerval it;
		OK(getitimer(which[i], &it));
		EQ(it.it_interval.tv_sec, 100 + i);
		EQ(it.it_interval.tv_usec, 250000);
		CHECK(it.it_value.tv_sec <= 1000 + i && it.it_value.tv_sec > 900 + i);
	}
	struct sigaction sa = { .sa_handler = tick };
	OK(sigaction(SIGVTALRM, &sa, NULL));
	struct itimerval soon = { { 0, 1000 }, { 0, 1000 } };
	OK(setitimer(ITIMER_VIRTUAL, &soon, NULL));
	while (ticks < 3)
		;
	return pass();
}
