/* Stopped while its selector blocks all calls: nothing of the checkpoint is dispatched. Beside it, a range. */
#include "../older.h"
#include <pthread.h>
#ifndef PR_SET_SYSCALL_USER_DISPATCH
#define PR_SET_SYSCALL_USER_DISPATCH 59
#endif
static volatile char selector, quit, ready;
static volatile int caught;
static void on(int s, siginfo_t *i, void *c)
{
	(void)s, (void)i, (void)c;
	selector = 0;
	caught++;
}
static void *run(void *arg)
{
	OK(prctl(PR_SET_SYSCALL_USER_DISPATCH, 1, 0, 0, &selector));
	selector = 1;
	ready = 1;
	while (!quit)
		;
	EQ(caught, 0);
	syscall(SYS_getppid);
	EQ(caught, 1);
	return arg;
}
int main(void)
{
	if (!dispatch_is_told())
		SKIP("the kernel does not tell of system call user dispatch");
	struct sigaction sa = { .sa_sigaction = on, .sa_flags = SA_SIGINFO };
	OK(sigaction(SIGSYS, &sa, NULL));
	if (prctl(PR_SET_SYSCALL_USER_DISPATCH, 1, 1, 0x7ffffffff000 - 1, NULL))
		SKIP("the kernel has no system call user dispatch");
	pthread_t t;
	pthread_create(&t, NULL, run, NULL);
	while (!ready)
		;
	checkpoint();
	OK(syscall(SYS_getppid));
	quit = 1;
	pthread_join(t, NULL);
	return pass();
}
