/* Alternate signal stacks: of each thread, while a handler runs on it, and with SS_AUTODISARM. */
#include "../guest.h"
#include <pthread.h>
#ifndef SS_AUTODISARM
#define SS_AUTODISARM (1U << 31)
#endif
static pthread_barrier_t set, go;
static void on(int s)
{
	stack_t st;
	(void)s;
	OK(sigaltstack(NULL, &st));
	EQ(st.ss_flags, SS_ONSTACK);
	pthread_barrier_wait(&set);
	pthread_barrier_wait(&go);
	OK(sigaltstack(NULL, &st));
	EQ(st.ss_flags, SS_ONSTACK);
	ERR(sigaltstack(&st, NULL), EPERM);
}
static void on_disarmed(int s)
{
	stack_t st;
	(void)s;
	OK(sigaltstack(NULL, &st));
	EQ(st.ss_flags, (int)SS_DISABLE);
	pthread_barrier_wait(&set);
	pthread_barrier_wait(&go);
	OK(sigaltstack(NULL, &st));
	EQ(st.ss_flags, (int)SS_DISABLE);
}
static void *run(void *arg)
{
	unsigned flags = (unsigned)(uintptr_t)arg;
	stack_t st = { .ss_sp = map(16 * PAGE, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), .ss_size = 16 * PAGE, .ss_flags = (int)flags };
	OK(sigaltstack(&st, NULL));
	pthread_kill(pthread_self(), flags ? SIGUSR2 : SIGUSR1);
	stack_t after;
	OK(sigaltstack(NULL, &after));
	CHECK(after.ss_sp == st.ss_sp && after.ss_size == st.ss_size);
	EQ(after.ss_flags, (int)flags);
	return NULL;
}
int main(void)
{
	struct sigaction sa = { .sa_handler = on, .sa_flags = SA_ONSTACK };
	OK(sigaction(SIGUSR1, &sa, NULL));
	sa.sa_handler = on_disarmed;
	OK(sigaction(SIGUSR2, &sa, NULL));
	stack_t mine = { .ss_sp = map(8 * PAGE, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), .ss_size = 8 * PAGE, .ss_flags = (int)SS_AUTODISARM }, after;
	OK(sigaltstack(&mine, NULL));
	pthread_t t[2];
	pthread_barrier_init(&set, NULL, 3);
	pthread_barrier_init(&go, NULL, 3);
	pthread_create(&t[0], NULL, run, NULL);
	pthread_create(&t[1], NULL, run, (void *)(uintptr_t)SS_AUTODISARM);
	pthread_barrier_wait(&set);
	checkpoint();
	OK(sigaltstack(NULL, &after));
	CHECK(after.ss_sp == mine.ss_sp && after.ss_size == mine.ss_size);
	EQ(after.ss_flags, (int)SS_AUTODISARM);
	pthread_barrier_wait(&go);
	for (int i = 0; i < 2; i++)
		pthread_join(t[i], NULL);
	return pass();
}
