/* A periodic timer of 10 ms goes on ticking. */
#include "../guest.h"
static volatile int ticks;
static void tick(int s) { (void)s; ticks++; }
int main(void)
{
	struct sigaction sa = { .sa_handler = tick, .sa_flags = SA_RESTART };
	OK(sigaction(SIGALRM, &sa, NULL));
	struct itimerval it = { { 0, 10000 }, { 0, 10000 } };
	OK(setitimer(ITIMER_REAL, &it, NULL));
	checkpoint();
	int seen = ticks;
	while (ticks < seen + 5)
		pause();
	OK(getitimer(ITIMER_REAL, &it));
	EQ(it.it_interval.tv_usec, 10000);
	return pass();
}
