/* Timers that wait for a point in time of the world keep it, whatever time the checkpoint takes. */
#include "../guest.h"
#include <sys/timerfd.h>
/* What a restore may be off by: the time between two looks of a dump. */
#define OFF 0.05
static double seconds(struct timespec t)
{
	return t.tv_sec + t.tv_nsec / 1e9;
}
static struct timespec in(double after)
{
	struct timespec t;
	OK(clock_gettime(CLOCK_REALTIME, &t));
	/* Whole seconds are moved so that what is left cannot be negative. */
	double at = t.tv_nsec / 1e9 + after + 10;
	return (struct timespec){ t.tv_sec - 10 + (long)at, (at - (long)at) * 1e9 };
}
static void waits_for(int fd, struct timespec at)
{
	struct itimerspec is;
	double before = now(CLOCK_REALTIME);
	OK(timerfd_gettime(fd, &is));
	double after = now(CLOCK_REALTIME), left = seconds(is.it_value);
	if (before + left > seconds(at) + OFF || after + left < seconds(at) - OFF)
		FAIL("waits until %.6f, expected %.6f", after + left, seconds(at));
}
int main(void)
{
	struct itimerspec once = { { 0, 0 }, in(3000.5) }, soon = { { 0, 0 }, in(0.02) }, fast = { { 0, 50000000 }, in(0.05) },
			  read_ = { { 4000, 0 }, in(-1) };
	int a = OK(timerfd_create(CLOCK_REALTIME, TFD_NONBLOCK)), b = OK(timerfd_create(CLOCK_REALTIME, 0)),
	    c = OK(timerfd_create(CLOCK_REALTIME, TFD_NONBLOCK)), d = OK(timerfd_create(CLOCK_REALTIME, TFD_NONBLOCK)),
	    alarm_ = timerfd_create(CLOCK_REALTIME_ALARM, TFD_NONBLOCK);
	OK(timerfd_settime(a, TFD_TIMER_ABSTIME, &once, NULL));
	if (alarm_ >= 0 && timerfd_settime(alarm_, TFD_TIMER_ABSTIME, &once, NULL)) {
		close(alarm_);
		alarm_ = -1;
	}
	OK(timerfd_settime(d, TFD_TIMER_ABSTIME, &read_, NULL));
	OK(timerfd_settime(c, TFD_TIMER_ABSTIME, &fast, NULL));
	OK(timerfd_settime(b, TFD_TIMER_ABSTIME, &soon, NULL));
	checkpoint();
	uint64_t n;
	EQ(read(b, &n, 8), 8);
	EQ(n, 1);
	waits_for(a, once.it_value);
	if (alarm_ >= 0)
		waits_for(alarm_, once.it_value);
	/* As many as if nothing had happened. */
	struct pollfd p = { c, POLLIN, 0 };
	EQ(poll(&p, 1, 10000), 1);
	double before = now(CLOCK_REALTIME);
	EQ(read(c, &n, 8), 8);
	double after = now(CLOCK_REALTIME), first = seconds(fast.it_value);
	if (n + 1 < (before - first) / 0.05 || n > (after - first) / 0.05 + 2)
		FAIL("%llu expirations in %.3f s", (unsigned long long)n, after - first);
	EQ(read(d, &n, 8), 8);
	EQ(n, 1);
	struct timespec next = read_.it_value;
	next.tv_sec += 4000;
	waits_for(d, next);
	return pass();
}
