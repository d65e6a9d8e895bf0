/* Blocked system calls go on after the checkpoint instead of failing with EINTR. */
#include "../guest.h"
#include <linux/futex.h>
#include <pthread.h>
#include <sys/file.h>
static int word;
static int p[2];
static volatile int entered;
static void *on_read(void *a)
{
	char c = 0;
	__atomic_add_fetch(&entered, 1, __ATOMIC_SEQ_CST);
	EQ(read(p[0], &c, 1), 1);
	EQ(c, 'r');
	return a;
}
static void *on_futex(void *a)
{
	__atomic_add_fetch(&entered, 1, __ATOMIC_SEQ_CST);
	long r = syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0);
	if (r && errno != EAGAIN) /* EAGAIN: woken between two checkpoints' restarts */
		FAIL("futex: %s", strerror(errno));
	EQ(word, 1);
	return a;
}
static void *on_wait(void *a)
{
	int st;
	__atomic_add_fetch(&entered, 1, __ATOMIC_SEQ_CST);
	EQ(waitpid((pid_t)(intptr_t)a, &st, 0), (pid_t)(intptr_t)a);
	EQ(st, 0);
	return NULL;
}
static void *on_sigwait(void *a)
{
	sigset_t m;
	int got;
	sigemptyset(&m);
	sigaddset(&m, SIGUSR1);
	__atomic_add_fetch(&entered, 1, __ATOMIC_SEQ_CST);
	EQ(sigwait(&m, &got), 0);
	EQ(got, SIGUSR1);
	return a;
}
int main(void)
{
	OK(pipe(p));
	sigset_t m;
	sigemptyset(&m);
	sigaddset(&m, SIGUSR1);
	sigprocmask(SIG_BLOCK, &m, NULL);
	pid_t child = OK(fork());
	if (!child) {
		wait_go();
		_exit(0);
	}
	pthread_t t[4];
	pthread_create(&t[0], NULL, on_read, NULL);
	pthread_create(&t[1], NULL, on_futex, NULL);
	pthread_create(&t[2], NULL, on_wait, (void *)(intptr_t)child);
	pthread_create(&t[3], NULL, on_sigwait, NULL);
	while (entered < 4)
		sched_yield();
	checkpoint();
	EQ(write(p[1], "r", 1), 1);
	word = 1;
	syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
	pthread_kill(t[3], SIGUSR1);
	for (int i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	return pass();
}
