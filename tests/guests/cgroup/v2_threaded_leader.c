/* Version 2: the leading thread is in a threaded group, another at the root of the domain. */
#include "../cgroup.h"
#include <pthread.h>
static pthread_barrier_t set, go;
static void *run(void *arg)
{
	pthread_barrier_wait(&set);
	pthread_barrier_wait(&go);
	CG_IN("", "");
	return NULL;
}
int main(void)
{
	cg_make("", "");
	cg_make("", "a");
	cg_put("", "a", "cgroup.type", "threaded");
	cg_enter("", "");
	pthread_barrier_init(&set, NULL, 2);
	pthread_barrier_init(&go, NULL, 2);
	pthread_t t;
	pthread_create(&t, NULL, run, NULL);
	cg_enter_thread("", "a");
	pthread_barrier_wait(&set);
	checkpoint();
	CG_IN("", "a");
	pthread_barrier_wait(&go);
	pthread_join(t, NULL);
	return pass();
}
