/* Memory policies of threads, set_mempolicy(2). */
#include "../guest.h"
#include <pthread.h>
enum { DEFAULT, PREFERRED, BIND, INTERLEAVE, LOCAL };
#define STATIC (1 << 15)
static pthread_barrier_t set, go;
static const int want[] = { BIND, PREFERRED | STATIC, LOCAL, INTERLEAVE };
static void policy(int mode)
{
	unsigned long nodes = 1;
	bool none = mode == LOCAL || mode == DEFAULT;
	if (syscall(SYS_set_mempolicy, mode, none ? NULL : &nodes, none ? 0 : 64))
		SKIP("set_mempolicy %#x: %s", mode, strerror(errno));
}
static void has(int mode)
{
	unsigned long nodes[16] = { 0 };
	int now = -1;
	OK(syscall(SYS_get_mempolicy, &now, nodes, 1024, NULL, 0));
	EQ(now, mode);
	EQ(nodes[0], mode == LOCAL || mode == DEFAULT ? 0 : 1);
}
static void *run(void *arg)
{
	int mode = want[(intptr_t)arg];
	policy(mode);
	has(mode);
	pthread_barrier_wait(&set);
	pthread_barrier_wait(&go);
	has(mode);
	return NULL;
}
int main(void)
{
	pthread_barrier_init(&set, NULL, 5);
	pthread_barrier_init(&go, NULL, 5);
	pthread_t t[4];
	for (intptr_t i = 0; i < 4; i++)
		pthread_create(&t[i], NULL, run, (void *)i);
	pthread_barrier_wait(&set);
	policy(INTERLEAVE | STATIC);
	checkpoint();
	has(INTERLEAVE | STATIC);
	pthread_barrier_wait(&go);
	for (int i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	return pass();
}
