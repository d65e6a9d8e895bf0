/* A thousand threads in one process. */
#include "../guest.h"
#include <pthread.h>
#define N 1000
static pthread_barrier_t set, go;
static pid_t tids[N];
static void *run(void *arg)
{
	int i = (int)(intptr_t)arg;
	volatile int on_stack = i ^ 0x5a5a;
	tids[i] = syscall(SYS_gettid);
	pthread_barrier_wait(&set);
	pthread_barrier_wait(&go);
	EQ(on_stack, i ^ 0x5a5a);
	EQ(syscall(SYS_gettid), tids[i]);
	return arg;
}
int main(void)
{
	static pthread_t t[N];
	pthread_attr_t attr;
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 64 << 10);
	pthread_barrier_init(&set, NULL, N + 1);
	pthread_barrier_init(&go, NULL, N + 1);
	for (int i = 0; i < N; i++)
		EQ(pthread_create(&t[i], &attr, run, (void *)(intptr_t)i), 0);
	pthread_barrier_wait(&set);
	checkpoint();
	EQ(proc_field(getpid(), "status", "Threads", 10), N + 1);
	pthread_barrier_wait(&go);
	for (int i = 0; i < N; i++) {
		void *v;
		EQ(pthread_join(t[i], &v), 0);
		EQ((intptr_t)v, i);
	}
	return pass();
}
