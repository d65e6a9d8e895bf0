/* Nice values and scheduler policies, thread by thread. */
#include "../guest.h"
#include <pthread.h>
static pthread_barrier_t set, go;
static const struct { int policy, prio, nice; } want[] = {
	{ SCHED_OTHER, 0, 7 }, { SCHED_BATCH, 0, 3 }, { SCHED_IDLE, 0, 0 }, { SCHED_FIFO, 12, 0 }, { SCHED_RR, 34, 0 },
	{ SCHED_OTHER, 0, -5 }, { SCHED_FIFO | SCHED_RESET_ON_FORK, 3, 0 },
};
#define N (int)(sizeof want / sizeof *want)
static bool refused[N];
static void *run(void *arg)
{
	int i = (int)(intptr_t)arg;
	struct sched_param p = { want[i].prio };
	if (sched_setscheduler(0, want[i].policy, &p)) {
		if (errno != EPERM)
			FAIL("sched_setscheduler %d: %s", want[i].policy, strerror(errno));
		refused[i] = true; /* real-time policies may be forbidden by the cgroup */
	}
	if (want[i].nice)
		OK(setpriority(PRIO_PROCESS, 0, want[i].nice));
	pthread_barrier_wait(&set);
	pthread_barrier_wait(&go);
	if (!refused[i]) {
		EQ(sched_getscheduler(0), want[i].policy);
		OK(sched_getparam(0, &p));
		EQ(p.sched_priority, want[i].prio);
	}
	errno = 0;
	EQ(getpriority(PRIO_PROCESS, 0), want[i].nice);
	return NULL;
}
int main(void)
{
	pthread_t t[N];
	pthread_barrier_init(&set, NULL, N + 1);
	pthread_barrier_init(&go, NULL, N + 1);
	for (int i = 0; i < N; i++)
		pthread_create(&t[i], NULL, run, (void *)(intptr_t)i);
	pthread_barrier_wait(&set);
	checkpoint();
	pthread_barrier_wait(&go);
	for (int i = 0; i < N; i++)
		pthread_join(t[i], NULL);
	EQ(getpriority(PRIO_PROCESS, 0), 0);
	EQ(sched_getscheduler(0), SCHED_OTHER);
	return pass();
}
