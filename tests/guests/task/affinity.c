/* Each thread may run on processors of its own. */
#include "../guest.h"
#include <pthread.h>
static pthread_barrier_t set, go;
static cpu_set_t all;
static int pick(int i)
{
	for (int cpu = 0, seen = 0; cpu < CPU_SETSIZE; cpu++)
		if (CPU_ISSET(cpu, &all) && seen++ == i % CPU_COUNT(&all))
			return cpu;
	return 0;
}
static void *run(void *arg)
{
	cpu_set_t one, now;
	CPU_ZERO(&one);
	CPU_SET(pick((int)(intptr_t)arg), &one);
	OK(sched_setaffinity(0, sizeof one, &one));
	pthread_barrier_wait(&set);
	pthread_barrier_wait(&go);
	OK(sched_getaffinity(0, sizeof now, &now));
	CHECK(CPU_EQUAL(&now, &one));
	EQ(sched_getcpu(), pick((int)(intptr_t)arg));
	return NULL;
}
int main(void)
{
	OK(sched_getaffinity(0, sizeof all, &all));
	if (CPU_COUNT(&all) < 2)
		SKIP("there is one processor only");
	pthread_barrier_init(&set, NULL, 4);
	pthread_barrier_init(&go, NULL, 4);
	pthread_t t[3];
	for (intptr_t i = 0; i < 3; i++)
		pthread_create(&t[i], NULL, run, (void *)i);
	pthread_barrier_wait(&set);
	checkpoint();
	cpu_set_t now;
	OK(sched_getaffinity(0, sizeof now, &now));
	CHECK(CPU_EQUAL(&now, &all));
	pthread_barrier_wait(&go);
	for (int i = 0; i < 3; i++)
		pthread_join(t[i], NULL);
	return pass();
}
