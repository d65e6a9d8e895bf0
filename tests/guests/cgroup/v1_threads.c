/* In version 1 each thread of a process may be in another group, by hierarchy. */
#include "../cgroup.h"
#include <pthread.h>
static pthread_barrier_t set, go;
static const char *const groups[] = { "", "a", "b", "a/c" };
static void *run(void *arg)
{
	const char *group = groups[(intptr_t)arg];
	cg_enter_thread("cpu", group);
	if ((intptr_t)arg == 2)
		cg_enter_thread("name=systemd", "b");
	pthread_barrier_wait(&set);
	pthread_barrier_wait(&go);
	return NULL;
}
int main(void)
{
	for (int i = 0; i < 4; i++) {
		cg_make("cpu", groups[i]);
		cg_make("name=systemd", groups[i]);
	}
	cg_enter("cpu", "");
	cg_enter("name=systemd", "");
	pthread_barrier_init(&set, NULL, 4);
	pthread_barrier_init(&go, NULL, 4);
	pthread_t t[4];
	for (intptr_t i = 1; i < 4; i++)
		pthread_create(&t[i], NULL, run, (void *)i);
	pthread_barrier_wait(&set);
	checkpoint();
	CG_IN("cpu", "");
	CG_IN("name=systemd", "");
	/* /proc shows all of them before they go on. */
	char text[4096];
	for (int i = 1; i < 4; i++) {
		snprintf(text, sizeof text, "%s", cg_get("cpu", groups[i], "tasks"));
		CHECK(strlen(text) > 0 && !strchr(text, '\n'));
		CHECK(atoi(text) != getpid());
	}
	CHECK(strlen(cg_get("name=systemd", "b", "tasks")) > 0);
	STR_EQ(cg_get("name=systemd", "a", "tasks"), "");
	pthread_barrier_wait(&go);
	for (int i = 1; i < 4; i++)
		pthread_join(t[i], NULL);
	return pass();
}
