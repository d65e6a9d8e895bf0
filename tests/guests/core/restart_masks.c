/* Calls that put a signal mask in place for their time go on with it, and the thread has its own again afterwards.
 * A signal that only the call lets through ends it; one that it blocks stays pending. */
#include "../guest.h"
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/select.h>

enum { SUSPEND, PPOLL, PSELECT, EPOLL, KINDS };
static volatile int entered;
static __thread volatile int caught;
static pid_t tids[KINDS];

static void on_signal(int sig)
{
	caught = sig;
}

static void *wait_in(void *kind)
{
	int which = (int)(intptr_t)kind;
	sigset_t own, during, pending;
	/* Of its own it blocks both; during the call only SIGUSR2. */
	sigemptyset(&own);
	sigaddset(&own, SIGUSR1);
	sigaddset(&own, SIGUSR2);
	EQ(pthread_sigmask(SIG_SETMASK, &own, NULL), 0);
	sigemptyset(&during);
	sigaddset(&during, SIGUSR2);
	tids[which] = gettid();
	int set = OK(epoll_create1(0));
	struct epoll_event event;
	struct timespec long_time = {.tv_sec = 1000};
	__atomic_add_fetch(&entered, 1, __ATOMIC_SEQ_CST);
	long result = 0;
	/* epoll_wait(2) is ended by a stop; what it is told then is for the program to judge. */
	do {
		switch (which) {
		case SUSPEND:
			result = sigsuspend(&during);
			break;
		case PPOLL:
			result = ppoll(NULL, 0, &long_time, &during);
			break;
		case PSELECT:
			result = pselect(0, NULL, NULL, NULL, NULL, &during);
			break;
		case EPOLL:
			result = epoll_pwait(set, &event, 1, -1, &during);
			break;
		}
		int why = errno;
		EQ(result, -1);
		EQ(why, EINTR);
		CHECK(caught || which == EPOLL);
	} while (!caught);
	EQ(caught, SIGUSR1);
	sigset_t now;
	EQ(pthread_sigmask(SIG_SETMASK, NULL, &now), 0);
	EQ(sigismember(&now, SIGUSR1), 1);
	EQ(sigismember(&now, SIGUSR2), 1);
	EQ(sigismember(&now, SIGTERM), 0);
	EQ(sigpending(&pending), 0);
	EQ(sigismember(&pending, SIGUSR2), 1);
	EQ(sigismember(&pending, SIGUSR1), 0);
	close(set);
	return NULL;
}

int main(void)
{
	struct sigaction action = {.sa_handler = on_signal};
	OK(sigaction(SIGUSR1, &action, NULL));
	OK(sigaction(SIGUSR2, &action, NULL));
	pthread_t threads[KINDS];
	for (intptr_t i = 0; i < KINDS; i++)
		EQ(pthread_create(&threads[i], NULL, wait_in, (void *)i), 0);
	while (entered < KINDS)
		sched_yield();
	for (int i = 0; i < KINDS; i++) {
		while (!thread_sleeps(tids[i]))
			sched_yield();
		EQ(pthread_kill(threads[i], SIGUSR2), 0);
	}
	checkpoint();
	for (int i = 0; i < KINDS; i++)
		EQ(pthread_kill(threads[i], SIGUSR1), 0);
	for (int i = 0; i < KINDS; i++)
		EQ(pthread_join(threads[i], NULL), 0);
	return pass();
}
