/* Version 2: threads of one process in several groups of a threaded domain. */
#include "../cgroup.h"
#include <pthread.h>
static pthread_barrier_t set, go;
static const char *const groups[] = { "", "a", "b", "b/c" };
static void *run(void *arg)
{
	cg_enter_thread("", groups[(intptr_t)arg]);
	pthread_barrier_wait(&set);
	pthread_barrier_wait(&go);
	return NULL;
}
int main(void)
{
	for (int i = 0; i < 4; i++) {
		cg_make("", groups[i]);
		if (i)
			cg_put("", groups[i], "cgroup.type", "threaded");
	}
	cg_enter("", "");
	pthread_barrier_init(&set, NULL, 4);
	pthread_barrier_init(&go, NULL, 4);
	pthread_t t[4];
	for (intptr_t i = 1; i < 4; i++)
		pthread_create(&t[i], NULL, run, (void *)i);
	pthread_barrier_wait(&set);
	checkpoint();
	CG_IN("", "");
	STR_EQ(cg_get("", "", "cgroup.type"), "domain threaded");
	for (int i = 1; i < 4; i++) {
		STR_EQ(cg_get("", groups[i], "cgroup.type"), "threaded");
		const char *text = cg_get("", groups[i], "cgroup.threads");
		CHECK(strlen(text) > 0 && !strchr(text, '\n'));
		CHECK(atoi(text) != getpid());
	}
	pthread_barrier_wait(&go);
	for (int i = 1; i < 4; i++)
		pthread_join(t[i], NULL);
	return pass();
}
