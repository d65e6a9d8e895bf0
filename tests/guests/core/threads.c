/* Twenty threads, each with its own tid, name, mask, alternate stack, thread-local value. */
#include "../guest.h"
#include <pthread.h>
#define N 20
static __thread int local = -1;
static pthread_barrier_t set, go;
static void *run(void *arg)
{
	int i = (int)(intptr_t)arg;
	pid_t tid = syscall(SYS_gettid);
	char name[16], got[16];
	snprintf(name, sizeof name, "worker %d", i);
	prctl(PR_SET_NAME, name);
	local = i * 7;
	sigset_t mask, now_;
	sigemptyset(&mask);
	sigaddset(&mask, SIGRTMIN + i);
	pthread_sigmask(SIG_SETMASK, &mask, NULL);
	stack_t stack = { .ss_sp = malloc(1 << 16), .ss_size = 1 << 16 }, stack2;
	OK(sigaltstack(&stack, NULL));
	pthread_barrier_wait(&set);
	pthread_barrier_wait(&go);
	EQ(syscall(SYS_gettid), tid);
	prctl(PR_GET_NAME, got);
	STR_EQ(got, name);
	EQ(local, i * 7);
	pthread_sigmask(SIG_SETMASK, NULL, &now_);
	for (int s = 1; s < 64; s++)
		if (s != 32 && s != 33)
			EQ(sigismember(&now_, s), s == SIGRTMIN + i);
	OK(sigaltstack(NULL, &stack2));
	EQ(stack2.ss_sp, stack.ss_sp);
	EQ(stack2.ss_size, stack.ss_size);
	return (void *)(intptr_t)(i + 1000);
}
int main(void)
{
	pthread_t t[N];
	pthread_barrier_init(&set, NULL, N + 1);
	pthread_barrier_init(&go, NULL, N + 1);
	for (int i = 0; i < N; i++)
		EQ(pthread_create(&t[i], NULL, run, (void *)(intptr_t)i), 0);
	pthread_barrier_wait(&set);
	checkpoint();
	EQ(local, -1);
	pthread_barrier_wait(&go);
	for (int i = 0; i < N; i++) {
		void *v;
		EQ(pthread_join(t[i], &v), 0);
		EQ((intptr_t)v, i + 1000);
	}
	pthread_t late; /* new threads can be made */
	pthread_barrier_init(&set, NULL, 1);
	pthread_barrier_init(&go, NULL, 1);
	EQ(pthread_create(&late, NULL, run, (void *)5), 0);
	EQ(pthread_join(late, NULL), 0);
	return pass();
}
