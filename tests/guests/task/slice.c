/* How long threads run at a time, sched_setattr(2), beside nice values and policies. */
#include "../guest.h"
#include <pthread.h>
struct attr {
	uint32_t size, policy;
	uint64_t flags;
	int32_t nice;
	uint32_t priority;
	uint64_t runtime, deadline, period;
};
static pthread_barrier_t set, go;
static const struct { int policy, nice; uint64_t slice; } want[] = {
	{ SCHED_OTHER, 0, 5000000 }, { SCHED_BATCH, 4, 100000 }, { SCHED_OTHER, -3, 90000000 },
};
static struct attr scheduled(void)
{
	struct attr a = { 0 };
	OK(syscall(SYS_sched_getattr, 0, &a, sizeof a, 0));
	return a;
}
static void *run(void *arg)
{
	int i = (int)(intptr_t)arg;
	struct attr a = { .size = sizeof a, .policy = want[i].policy, .nice = want[i].nice, .runtime = want[i].slice };
	OK(syscall(SYS_sched_setattr, 0, &a, 0));
	if (scheduled().runtime != want[i].slice)
		SKIP("this kernel has no time slices of threads");
	pthread_barrier_wait(&set);
	pthread_barrier_wait(&go);
	a = scheduled();
	EQ(a.runtime, want[i].slice);
	EQ(a.policy, want[i].policy);
	EQ(a.nice, want[i].nice);
	return NULL;
}
int main(void)
{
	uint64_t own = scheduled().runtime;
	pthread_barrier_init(&set, NULL, 4);
	pthread_barrier_init(&go, NULL, 4);
	pthread_t t[3];
	for (intptr_t i = 0; i < 3; i++)
		pthread_create(&t[i], NULL, run, (void *)i);
	pthread_barrier_wait(&set);
	checkpoint();
	EQ(scheduled().runtime, own);
	pthread_barrier_wait(&go);
	for (int i = 0; i < 3; i++)
		pthread_join(t[i], NULL);
	return pass();
}
