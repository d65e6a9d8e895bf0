/* A POSIX timer with a value of its own, and a queued signal with one. */
#include "../x32.h"
static volatile int fired, value, code, queued;
static void on_timer(int signo, int *info)
{
	(void)signo;
	code = info[2];
	value = info[5];
	fired++;
}
static void on_queued(int signo, int *info)
{
	(void)signo;
	EQ(info[2], -1);
	queued = info[5];
}
struct sigevent {
	int value, signo, notify, pad[13];
};
struct itimerspec {
	struct timespec interval, value;
};
int guest(unsigned *stack)
{
	(void)stack;
	int timer = -1, pid = CALL(getpid);
	struct sigevent event = { 0x7654321, 34, 0, { 0 } };
	OK(CALL(timer_create, 1, &event, &timer));
	struct itimerspec spec = { { 0, 0 }, { 1000, 0 } }, left;
	OK(CALL(timer_settime, timer, 0, &spec, 0));
	unsigned mask[2] = { 0, 1U << 2 }; /* 35 */
	OK(CALL(rt_sigprocmask, 2, mask, 0, 8));
	int info[32] = { 35, 0, -1, pid, 0, 0x1234567 };
	OK(CALL(rt_sigqueueinfo, pid, 35, info));
	on_signal(34, on_timer, 0, 0);
	on_signal(35, on_queued, 0, 0);
	checkpoint();
	OK(CALL(timer_gettime, timer, &left));
	CHECK(left.value.sec > 900 && left.value.sec <= 1000);
	mask[1] = 0;
	EQ(queued, 0);
	OK(CALL(rt_sigprocmask, 2, mask, 0, 8));
	EQ(queued, 0x1234567);
	spec.value = (struct timespec){ 0, 1 };
	OK(CALL(timer_settime, timer, 0, &spec, 0));
	while (!fired)
		CALL(sched_yield);
	EQ(value, 0x7654321);
	EQ(code, -2);
	return 0;
}
