/* A thread that dies with a robust mutex after the restore leaves it marked. */
#include "../guest.h"
#include <pthread.h>
static pthread_mutex_t m;
static pthread_barrier_t set, go;
static void *head;
static void *run(void *arg)
{
	size_t len;
	void *mine, *again;
	pthread_mutex_lock(&m);
	OK(syscall(SYS_get_robust_list, 0, &mine, &len));
	pthread_barrier_wait(&set);
	pthread_barrier_wait(&go);
	OK(syscall(SYS_get_robust_list, 0, &again, &len));
	EQ(again, mine);
	EQ(len, 24);
	return arg; /* with the mutex held */
}
int main(void)
{
	pthread_mutexattr_t a;
	size_t len;
	void *again;
	pthread_mutexattr_init(&a);
	pthread_mutexattr_setrobust(&a, PTHREAD_MUTEX_ROBUST);
	pthread_mutex_init(&m, &a);
	pthread_barrier_init(&set, NULL, 2);
	pthread_barrier_init(&go, NULL, 2);
	OK(syscall(SYS_get_robust_list, 0, &head, &len));
	pthread_t t;
	pthread_create(&t, NULL, run, NULL);
	pthread_barrier_wait(&set);
	checkpoint();
	EQ(pthread_mutex_trylock(&m), EBUSY);
	pthread_barrier_wait(&go);
	pthread_join(t, NULL);
	EQ(pthread_mutex_lock(&m), EOWNERDEAD);
	EQ(pthread_mutex_consistent(&m), 0);
	EQ(pthread_mutex_unlock(&m), 0);
	OK(syscall(SYS_get_robust_list, 0, &again, &len));
	EQ(again, head);
	return pass();
}
