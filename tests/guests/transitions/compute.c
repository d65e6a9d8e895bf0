/* Threads that compute with all registers: the same sums each time. */
#include "../motion.h"
#include <pthread.h>
#define N 4096
static __attribute__((noinline)) double turn(unsigned seed)
{
	double a[8], sum = 0;
	for (int i = 0; i < 8; i++)
		a[i] = seed + i * 0.125;
	for (int k = 0; k < 4000; k++)
		for (int i = 0; i < 8; i++)
			a[i] = a[i] * 0.99999 + (double)(k % 7) * 0.001;
	long double x87 = seed;
	for (int k = 0; k < 1000; k++)
		x87 = x87 * 0.5L + k;
	for (int i = 0; i < 8; i++)
		sum += a[i];
	return sum + (double)x87;
}
static double wanted[16];
static void *worker(void *arg)
{
	for (unsigned i = (unsigned long)arg; moving(); i++) {
		double got = turn(i % 16);
		if (memcmp(&got, &wanted[i % 16], sizeof got))
			FAIL("turn %u gave %.17g, expected %.17g", i, got, wanted[i % 16]);
		step();
	}
	return NULL;
}
int main(void)
{
	motion_begin();
	for (int i = 0; i < 16; i++)
		wanted[i] = turn(i);
	pthread_t t[4];
	for (long i = 0; i < 4; i++)
		EQ(pthread_create(&t[i], NULL, worker, (void *)i), 0);
	in_motion();
	for (int i = 0; i < 4; i++)
		EQ(pthread_join(t[i], NULL), 0);
	return pass();
}
