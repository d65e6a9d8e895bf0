/* Time slices of fair threads (Linux 6.12), beside nice values of real-time ones. */
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
static void *run(void *arg)
{
	struct attr a = { .size = sizeof a, .policy = SCHED_BATCH, .nice = 5, .runtime = 7000000 }, b = { 0 };
	OK(syscall(SYS_sched_setattr, 0, &a, 0));
	pthread_barrier_wait(&set);
	pthread_barrier_wait(&go);
	OK(syscall(SYS_sched_getattr, 0, &b, sizeof b, 0));
	EQ(b.policy, SCHED_BATCH);
	EQ(b.nice, 5);
	EQ(b.runtime, 7000000);
	return arg;
}
static void *rt(void *arg)
{
	struct sched_param p = { 9 };
	OK(setpriority(PRIO_PROCESS, 0, 11));
	bool is = sched_setscheduler(0, SCHED_RR, &p) == 0;
	pthread_barrier_wait(&set);
	pthread_barrier_wait(&go);
	if (is) {
		EQ(sched_getscheduler(0), SCHED_RR);
		p.sched_priority = 0;
		OK(sched_setscheduler(0, SCHED_OTHER, &p));
	}
	EQ(getpriority(PRIO_PROCESS, 0), 11);
	return arg;
}
int main(void)
{
	struct attr first = { 0 }, b = { 0 };
	OK(syscall(SYS_sched_getattr, 0, &first, sizeof first, 0));
	if (!first.runtime)
		SKIP("the kernel has no time slices of threads");
	pthread_t t[2];
	pthread_barrier_init(&set, NULL, 3);
	pthread_barrier_init(&go, NULL, 3);
	pthread_create(&t[0], NULL, run, NULL);
	pthread_create(&t[1], NULL, rt, NULL);
	pthread_barrier_wait(&set);
	checkpoint();
	OK(syscall(SYS_sched_getattr, 0, &b, sizeof b, 0));
	EQ(b.runtime, first.runtime);
	pthread_barrier_wait(&go);
	for (int i = 0; i < 2; i++)
		pthread_join(t[i], NULL);
	return pass();
}
