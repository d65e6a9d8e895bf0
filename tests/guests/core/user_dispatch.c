/* System call user dispatch, thread by thread: the selector, the range that is always allowed, and off. */
#include "../older.h"
#include <pthread.h>
#ifndef PR_SET_SYSCALL_USER_DISPATCH
#define PR_SET_SYSCALL_USER_DISPATCH 59
#endif
static pthread_barrier_t set, go;
static __thread volatile char selector;
static __thread volatile int caught;
static __thread volatile long number;
static void on(int s, siginfo_t *i, void *c)
{
	(void)s, (void)c;
	selector = 0;
	number = i->si_syscall;
	caught++;
}
static void *run(void *arg)
{
	if (prctl(PR_SET_SYSCALL_USER_DISPATCH, 1, 0, 0, &selector))
		FAIL("%s", strerror(errno));
	pthread_barrier_wait(&set);
	pthread_barrier_wait(&go);
	selector = 1; /* from here on every call is a signal */
	syscall(SYS_getppid);
	EQ(caught, 1);
	EQ(number, SYS_getppid);
	selector = 0;
	EQ(syscall(SYS_getppid), getppid());
	EQ(caught, 1);
	return arg;
}
static void *plain(void *arg)
{
	pthread_barrier_wait(&set);
	pthread_barrier_wait(&go);
	selector = 1;
	OK(syscall(SYS_getppid));
	EQ(caught, 0);
	return arg;
}
int main(void)
{
	if (!dispatch_is_told())
		SKIP("the kernel does not tell of system call user dispatch");
	struct sigaction sa = { .sa_sigaction = on, .sa_flags = SA_SIGINFO };
	OK(sigaction(SIGSYS, &sa, NULL));
	if (prctl(PR_SET_SYSCALL_USER_DISPATCH, 1, 0, 0, &selector))
		SKIP("the kernel has no system call user dispatch");
	pthread_t t[2];
	pthread_barrier_init(&set, NULL, 3);
	pthread_barrier_init(&go, NULL, 3);
	pthread_create(&t[0], NULL, run, NULL);
	pthread_create(&t[1], NULL, plain, NULL);
	pthread_barrier_wait(&set);
	checkpoint();
	selector = 1;
	syscall(SYS_getpgrp);
	EQ(caught, 1);
	EQ(number, SYS_getpgrp);
	/* The range of the whole program is always allowed, without a selector. */
	OK(prctl(PR_SET_SYSCALL_USER_DISPATCH, 1, 1, 0x7ffffffff000 - 1, NULL));
	OK(syscall(SYS_getpgrp));
	OK(prctl(PR_SET_SYSCALL_USER_DISPATCH, 0, 0, 0, 0));
	pthread_barrier_wait(&go);
	for (int i = 0; i < 2; i++)
		pthread_join(t[i], NULL);
	return pass();
}
