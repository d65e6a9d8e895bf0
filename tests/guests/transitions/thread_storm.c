/* Threads that come and go: joined ones, and ones that nobody waits for. */
#include "../motion.h"
#include <pthread.h>
#define MAKERS 4
static unsigned long joined, detached_begun, detached_ended;
static void *brief(void *at)
{
	volatile unsigned long sum = 0;
	for (unsigned long i = 0; i < 1000; i++)
		sum += i;
	EQ(sum, 499500);
	__atomic_fetch_add((unsigned long *)at, 1, __ATOMIC_SEQ_CST);
	return (void *)sum;
}
static void *maker(void *arg)
{
	pthread_attr_t detached;
	pthread_attr_init(&detached);
	pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
	unsigned long mine = 0, count = 0;
	while (moving()) {
		pthread_t t[3];
		void *result;
		for (int i = 0; i < 3; i++)
			EQ(pthread_create(&t[i], NULL, brief, &mine), 0);
		if (detached_begun - detached_ended < 50) {
			__atomic_fetch_add(&detached_begun, 1, __ATOMIC_SEQ_CST);
			EQ(pthread_create(&(pthread_t){ 0 }, &detached, brief, &detached_ended), 0);
		}
		for (int i = 0; i < 3; i++) {
			EQ(pthread_join(t[i], &result), 0);
			EQ((unsigned long)result, 499500);
		}
		count += 3;
		EQ(mine, count);
		step();
	}
	__atomic_fetch_add(&joined, count, __ATOMIC_SEQ_CST);
	return arg;
}
int main(void)
{
	pthread_t t[MAKERS];
	motion_begin();
	for (long i = 0; i < MAKERS; i++)
		EQ(pthread_create(&t[i], NULL, maker, (void *)i), 0);
	in_motion();
	for (long i = 0; i < MAKERS; i++) {
		void *result;
		EQ(pthread_join(t[i], &result), 0);
		EQ((long)result, i);
	}
	while (__atomic_load_n(&detached_ended, __ATOMIC_SEQ_CST) < detached_begun)
		sched_yield();
	CHECK(joined > 0);
	return pass();
}
