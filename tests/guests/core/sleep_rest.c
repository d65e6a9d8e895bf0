/* Sleeps that say what is left, and waits until a point in time, go on: no EINTR, and no longer than asked. */
#include "../guest.h"
#include <linux/futex.h>
#include <pthread.h>
static volatile int entered, quit;
static int word;
static double begun;
static void *on_nanosleep(void *a)
{
	struct timespec t = { 3, 0 }, rest = { 0, 0 };
	__atomic_add_fetch(&entered, 1, __ATOMIC_SEQ_CST);
	OK(syscall(SYS_nanosleep, &t, &rest));
	CHECK(now(CLOCK_MONOTONIC) - begun >= 2.99);
	return a;
}
static void *on_clock(void *a)
{
	struct timespec t = { 3, 0 }, rest = { 0, 0 };
	__atomic_add_fetch(&entered, 1, __ATOMIC_SEQ_CST);
	OK(syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, &t, &rest));
	CHECK(now(CLOCK_MONOTONIC) - begun >= 2.99);
	return a;
}
static void *on_futex(void *a)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	t.tv_sec += 3;
	__atomic_add_fetch(&entered, 1, __ATOMIC_SEQ_CST);
	ERR(syscall(SYS_futex, &word, FUTEX_WAIT_BITSET_PRIVATE, 0, &t, NULL, ~0U), ETIMEDOUT);
	return a;
}
static void *on_absolute(void *a)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	t.tv_sec += 3;
	__atomic_add_fetch(&entered, 1, __ATOMIC_SEQ_CST);
	OK(syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL));
	return a;
}
static void *on_select(void *a)
{
	struct timeval t = { 3, 0 };
	__atomic_add_fetch(&entered, 1, __ATOMIC_SEQ_CST);
	OK(select(0, NULL, NULL, NULL, &t));
	CHECK(now(CLOCK_MONOTONIC) - begun >= 2.99);
	return a;
}
int main(void)
{
	void *(*all[])(void *) = { on_nanosleep, on_clock, on_futex, on_absolute, on_select };
	pthread_t t[5];
	begun = now(CLOCK_MONOTONIC);
	for (int i = 0; i < 5; i++)
		pthread_create(&t[i], NULL, all[i], NULL);
	while (entered < 5)
		sched_yield();
	checkpoint();
	for (int i = 0; i < 5; i++)
		pthread_join(t[i], NULL);
	return pass();
}
