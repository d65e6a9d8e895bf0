/* SCHED_DEADLINE with its three times and flags, in one of two threads. */
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
static bool cannot;
static void *run(void *arg)
{
	struct attr a = { sizeof a, 6, 1 /* reset on fork */, 0, 0, 2000000, 20000000, 50000000 }, b = { 0 };
	setpriority(PRIO_PROCESS, 0, 4);
	cannot = syscall(SYS_sched_setattr, 0, &a, 0) != 0;
	pthread_barrier_wait(&set);
	pthread_barrier_wait(&go);
	OK(syscall(SYS_sched_getattr, 0, &b, sizeof b, 0));
	EQ(b.policy, 6);
	EQ(b.flags, 1);
	EQ(b.runtime, 2000000);
	EQ(b.deadline, 20000000);
	EQ(b.period, 50000000);
	return arg;
}
int main(void)
{
	pthread_t t;
	pthread_barrier_init(&set, NULL, 2);
	pthread_barrier_init(&go, NULL, 2);
	pthread_create(&t, NULL, run, NULL);
	pthread_barrier_wait(&set);
	if (cannot)
		SKIP("SCHED_DEADLINE may not be used");
	checkpoint();
	EQ(sched_getscheduler(0), SCHED_OTHER);
	pthread_barrier_wait(&go);
	pthread_join(t, NULL);
	return pass();
}
