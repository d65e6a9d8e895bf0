/* A sleep with a deadline ends at it: not early, and without a checkpoint in between going unnoticed as success.
 * Relative sleeps may end with EINTR, as after any stop by signal; the absolute one goes on. */
#include "../guest.h"
#include <pthread.h>
static volatile int entered;
static struct timespec until;
static void *absolute(void *a)
{
	__atomic_add_fetch(&entered, 1, __ATOMIC_SEQ_CST);
	EQ(clock_nanosleep(CLOCK_REALTIME, TIMER_ABSTIME, &until, NULL), 0);
	CHECK(now(CLOCK_REALTIME) >= until.tv_sec + until.tv_nsec / 1e9);
	wait_go(); /* the number of threads does not depend on how long the checkpoint took */
	return a;
}
static void *relative(void *a)
{
	struct timespec t = { 2, 0 };
	double begin = now(CLOCK_REALTIME);
	__atomic_add_fetch(&entered, 1, __ATOMIC_SEQ_CST);
	if (nanosleep(&t, NULL) == 0)
		CHECK(now(CLOCK_REALTIME) >= begin + 1.99);
	else if (errno != EINTR)
		FAIL("nanosleep: %s", strerror(errno));
	wait_go(); /* the number of threads does not depend on how long the checkpoint took */
	return a;
}
int main(void)
{
	pthread_t t[2];
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += 2;
	pthread_create(&t[0], NULL, absolute, NULL);
	pthread_create(&t[1], NULL, relative, NULL);
	while (entered < 2)
		sched_yield();
	checkpoint();
	for (int i = 0; i < 2; i++)
		pthread_join(t[i], NULL);
	return pass();
}
