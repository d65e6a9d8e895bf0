/* A file in /proc of a thread that is not the first. */
#include "../guest.h"
#include <pthread.h>
static void *sleeper(void *tid)
{
	*(volatile pid_t *)tid = gettid();
	pause();
	return NULL;
}
int main(void)
{
	pthread_t thread;
	volatile pid_t tid = 0;
	char path[64], byte;
	EQ(pthread_create(&thread, NULL, sleeper, (void *)&tid), 0);
	while (!tid)
		sched_yield();
	snprintf(path, sizeof path, "/proc/self/task/%d/status", tid);
	int fd = OK(open(path, O_RDONLY));
	checkpoint();
	EQ(read(fd, &byte, 1), 1);
	return pass();
}
