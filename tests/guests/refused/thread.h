/* A thread that has left something which threads share: it is not saved, and nothing changes. */
#include "../guest.h"
#include <pthread.h>

static volatile int left;

static void *leave(void *flag)
{
	if (unshare((int)(intptr_t)flag))
		SKIP("unshare(%#x): %s", (int)(intptr_t)flag, strerror(errno));
	left = 1;
	pause();
	return NULL;
}

static inline int thread_that_leaves(int flag)
{
	pthread_t thread;
	EQ(pthread_create(&thread, NULL, leave, (void *)(intptr_t)flag), 0);
	while (!left)
		sched_yield();
	checkpoint();
	return pass();
}
