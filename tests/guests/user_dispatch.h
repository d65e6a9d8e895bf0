/* A thread whose selector blocks all system calls until one has been sent back to it. */
#ifndef USER_DISPATCH_H
#define USER_DISPATCH_H
#include "older.h"
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
#endif
