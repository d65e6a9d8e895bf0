/* Timers: expired once for all, disarmed with and without a period, absolute ones with periods, ones that are cancelled
 * when the clock is set, and ones that are waited for. */
#include "../guest.h"
#include <pthread.h>
#include <sys/timerfd.h>
#ifndef TFD_TIMER_CANCEL_ON_SET
#define TFD_TIMER_CANCEL_ON_SET 2
#endif
static int awaited;
static void *waiter(void *arg)
{
	uint64_t n;
	EQ(read(awaited, &n, 8), 8);
	EQ(n, 1);
	return arg;
}
static struct timespec in(clockid_t clock, long seconds)
{
	struct timespec t;
	OK(clock_gettime(clock, &t));
	t.tv_sec += seconds;
	return t;
}
int main(void)
{
	int expired = OK(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK)), read_ = OK(timerfd_create(CLOCK_BOOTTIME, TFD_NONBLOCK)),
	    stopped = OK(timerfd_create(CLOCK_REALTIME, TFD_NONBLOCK)), periodic = OK(timerfd_create(CLOCK_REALTIME, TFD_NONBLOCK)),
	    cancel = OK(timerfd_create(CLOCK_REALTIME, TFD_NONBLOCK)), past = OK(timerfd_create(CLOCK_BOOTTIME, TFD_NONBLOCK)),
	    fast = OK(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK));
	awaited = OK(timerfd_create(CLOCK_MONOTONIC, 0));
	struct itimerspec it = { { 0, 0 }, { 0, 1 } }, now_;
	uint64_t n;
	OK(timerfd_settime(expired, 0, &it, NULL));
	OK(timerfd_settime(read_, 0, &it, NULL));
	struct pollfd p[2] = { { expired, POLLIN, 0 }, { read_, POLLIN, 0 } };
	while (poll(p, 2, 1000) < 2)
		;
	EQ(read(read_, &n, 8), 8);
	it = (struct itimerspec){ { 50, 0 }, { 500, 0 } };
	OK(timerfd_settime(stopped, 0, &it, NULL));
	it = (struct itimerspec){ { 0, 0 }, { 0, 0 } };
	OK(timerfd_settime(stopped, 0, &it, NULL));
	it = (struct itimerspec){ { 600, 7 }, in(CLOCK_REALTIME, 3000) };
	OK(timerfd_settime(periodic, TFD_TIMER_ABSTIME, &it, NULL));
	it = (struct itimerspec){ { 0, 0 }, in(CLOCK_REALTIME, 4000) };
	OK(timerfd_settime(cancel, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &it, NULL));
	it = (struct itimerspec){ { 1000, 0 }, in(CLOCK_BOOTTIME, -1) };
	if (it.it_value.tv_sec < 1)
		it.it_value.tv_sec = 1;
	OK(timerfd_settime(past, TFD_TIMER_ABSTIME, &it, NULL));
	it = (struct itimerspec){ { 0, 1000000 }, { 0, 1000000 } };
	OK(timerfd_settime(fast, 0, &it, NULL));
	it = (struct itimerspec){ { 0, 0 }, { 1, 500000000 } };
	pthread_t t;
	OK(timerfd_settime(awaited, 0, &it, NULL));
	EQ(pthread_create(&t, NULL, waiter, NULL), 0);
	double began = now(CLOCK_MONOTONIC);
	checkpoint();
	EQ(read(expired, &n, 8), 8);
	EQ(n, 1);
	ERR(read(expired, &n, 8), EAGAIN);
	ERR(read(read_, &n, 8), EAGAIN);
	ERR(read(stopped, &n, 8), EAGAIN);
	OK(timerfd_gettime(stopped, &now_));
	EQ(now_.it_value.tv_sec + now_.it_value.tv_nsec, 0);
	OK(timerfd_gettime(periodic, &now_));
	EQ(now_.it_interval.tv_sec, 600);
	EQ(now_.it_interval.tv_nsec, 7);
	CHECK(now_.it_value.tv_sec <= 3000 && now_.it_value.tv_sec > 2800);
	OK(timerfd_gettime(cancel, &now_));
	CHECK(now_.it_value.tv_sec <= 4000 && now_.it_value.tv_sec > 3800);
	char path[64];
	snprintf(path, sizeof path, "fdinfo/%d", cancel);
	EQ(proc_field(getpid(), path, "settime flags", 8), 3);
	EQ(read(past, &n, 8), 8);
	CHECK(n >= 1);
	OK(timerfd_gettime(past, &now_));
	EQ(now_.it_interval.tv_sec, 1000);
	CHECK(now_.it_value.tv_sec > 0 && now_.it_value.tv_sec <= 1000);
	struct pollfd ticked = { .fd = fast, .events = POLLIN };
	EQ(poll(&ticked, 1, 10000), 1);
	double took = now(CLOCK_MONOTONIC) - began;
	EQ(read(fast, &n, 8), 8);
	if (n < 1 || n > took * 1000 + 100)
		FAIL("%llu ticks of a millisecond in %.3f s", (unsigned long long)n, took);
	EQ(pthread_join(t, NULL), 0);
	return pass();
}
