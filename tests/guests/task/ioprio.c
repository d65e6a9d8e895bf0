/* I/O priorities of every class, thread by thread. */
#include "../guest.h"
#include <pthread.h>
#define PRIO(class, level) ((class) << 13 | (level))
static pthread_barrier_t set, go;
static const int want[] = { PRIO(2, 0), PRIO(2, 7), PRIO(3, 0), PRIO(1, 4), PRIO(2, 4), 0 };
#define N (int)(sizeof want / sizeof *want)
static bool refused[N];
static void *run(void *arg)
{
	int i = (int)(intptr_t)arg;
	if (want[i] && syscall(SYS_ioprio_set, 1, 0, want[i])) {
		if (errno != EPERM)
			FAIL("ioprio_set %#x: %s", want[i], strerror(errno));
		refused[i] = true;
	}
	pthread_barrier_wait(&set);
	pthread_barrier_wait(&go);
	if (!refused[i])
		EQ(syscall(SYS_ioprio_get, 1, 0), want[i]);
	return NULL;
}
int main(void)
{
	EQ(syscall(SYS_ioprio_get, 1, 0), 0);
	pthread_t t[N];
	pthread_barrier_init(&set, NULL, N + 1);
	pthread_barrier_init(&go, NULL, N + 1);
	for (int i = 0; i < N; i++)
		pthread_create(&t[i], NULL, run, (void *)(intptr_t)i);
	pthread_barrier_wait(&set);
	checkpoint();
	EQ(syscall(SYS_ioprio_get, 1, 0), 0);
	pthread_barrier_wait(&go);
	for (int i = 0; i < N; i++)
		pthread_join(t[i], NULL);
	return pass();
}
