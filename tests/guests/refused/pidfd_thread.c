/* A pidfd of a thread that is not the first of its process: refused by name. */
#include "../guest.h"
#include <pthread.h>
static pid_t tid;
static pthread_mutex_t end = PTHREAD_MUTEX_INITIALIZER;
static void *other(void *arg)
{
	__atomic_store_n(&tid, gettid(), __ATOMIC_SEQ_CST);
	pthread_mutex_lock(&end);
	return arg;
}
int main(void)
{
	pthread_t t;
	pthread_mutex_lock(&end);
	EQ(pthread_create(&t, NULL, other, NULL), 0);
	while (!__atomic_load_n(&tid, __ATOMIC_SEQ_CST))
		usleep(100);
	int fd = (int)syscall(SYS_pidfd_open, tid, O_EXCL);
	if (fd < 0)
		SKIP("no pidfds of threads: %s", strerror(errno));
	checkpoint();
	pthread_mutex_unlock(&end);
	EQ(pthread_join(t, NULL), 0);
	return pass();
}
