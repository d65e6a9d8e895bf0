/* The signals of a file go to one thread, which is not the first. */
#include "../guest.h"
#include <pthread.h>
static int ends[2], go[2];
static volatile pid_t tid;
static void *other(void *unused)
{
	char byte;
	(void)unused;
	tid = gettid();
	while (read(go[0], &byte, 1) < 0)
		;
	return NULL;
}
int main(void)
{
	pthread_t thread;
	OK(pipe(ends));
	OK(pipe(go));
	EQ(pthread_create(&thread, NULL, other, NULL), 0);
	while (!tid)
		sched_yield();
	struct f_owner_ex owner = {F_OWNER_TID, tid}, now;
	OK(fcntl(ends[0], F_SETOWN_EX, &owner));
	checkpoint();
	OK(fcntl(ends[0], F_GETOWN_EX, &now));
	EQ(now.type, F_OWNER_TID);
	EQ(now.pid, tid);
	EQ(write(go[1], "x", 1), 1);
	EQ(pthread_join(thread, NULL), 0);
	return pass();
}
