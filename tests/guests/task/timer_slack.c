/* Timer slack, thread by thread, and of a child. */
#include "../guest.h"
#include <pthread.h>
static pthread_barrier_t set, go;
static const unsigned long want[] = { 1, 50000, 77777, 4000000000UL };
static void *run(void *arg)
{
	unsigned long slack = want[(intptr_t)arg];
	OK(prctl(PR_SET_TIMERSLACK, slack, 0, 0, 0));
	pthread_barrier_wait(&set);
	pthread_barrier_wait(&go);
	EQ(syscall(SYS_prctl, PR_GET_TIMERSLACK, 0, 0, 0, 0) & 0xffffffffUL, slack);
	return NULL;
}
int main(void)
{
	OK(prctl(PR_SET_TIMERSLACK, 60000UL, 0, 0, 0));
	struct latch ready = latch_new();
	pid_t child = OK(fork());
	if (!child) {
		OK(prctl(PR_SET_TIMERSLACK, 123UL, 0, 0, 0));
		latch_open(ready);
		wait_go();
		EQ(prctl(PR_GET_TIMERSLACK, 0, 0, 0, 0), 123);
		_exit(0);
	}
	latch_wait(ready);
	pthread_barrier_init(&set, NULL, 5);
	pthread_barrier_init(&go, NULL, 5);
	pthread_t t[4];
	for (intptr_t i = 0; i < 4; i++)
		pthread_create(&t[i], NULL, run, (void *)i);
	pthread_barrier_wait(&set);
	checkpoint();
	EQ(prctl(PR_GET_TIMERSLACK, 0, 0, 0, 0), 60000);
	pthread_barrier_wait(&go);
	for (int i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	reap_ok(child);
	return pass();
}
