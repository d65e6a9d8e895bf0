/* Protection keys: of mappings, of threads, and which are allocated. */
#include "../guest.h"
#include <pthread.h>
#include <setjmp.h>
static pthread_barrier_t set, go;
static __thread sigjmp_buf back;
static __thread volatile int code;
static char *at;
static int key, other, freed;
static void on(int s, siginfo_t *i, void *c)
{
	(void)s, (void)c;
	code = i->si_code;
	siglongjmp(back, 1);
}
static bool readable(volatile char *p)
{
	code = 0;
	if (sigsetjmp(back, 1))
		return false;
	(void)*p;
	return true;
}
static void *run(void *arg)
{
	OK(pkey_set(key, 0)); /* this thread may */
	pthread_barrier_wait(&set);
	pthread_barrier_wait(&go);
	EQ(pkey_get(key), 0);
	CHECK(readable(at));
	filled(at, 4 * PAGE, 5, "behind the key");
	EQ(pkey_get(other), PKEY_DISABLE_WRITE);
	return arg;
}
int main(void)
{
	struct sigaction sa = { .sa_sigaction = on, .sa_flags = SA_SIGINFO };
	OK(sigaction(SIGSEGV, &sa, NULL));
	freed = pkey_alloc(0, 0);
	if (freed < 0)
		SKIP("no protection keys");
	key = OK(pkey_alloc(0, 0));
	other = OK(pkey_alloc(0, PKEY_DISABLE_WRITE));
	OK(pkey_free(freed));
	at = map(4 * PAGE, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	fill(at, 4 * PAGE, 5);
	OK(pkey_mprotect(at, 4 * PAGE, 3, key));
	OK(pkey_set(key, PKEY_DISABLE_ACCESS));
	pthread_t t;
	pthread_barrier_init(&set, NULL, 2);
	pthread_barrier_init(&go, NULL, 2);
	pthread_create(&t, NULL, run, NULL);
	pthread_barrier_wait(&set);
	checkpoint();
	EQ(pkey_get(key), PKEY_DISABLE_ACCESS);
	EQ(pkey_get(other), PKEY_DISABLE_WRITE);
	CHECK(!readable(at)); /* the handler has rights of its own, which the jump out of it keeps */
	EQ(code, SEGV_PKUERR);
	pthread_barrier_wait(&go);
	pthread_join(t, NULL);
	EQ(pkey_alloc(0, 0), freed);
	OK(pkey_free(key));
	OK(pkey_free(other));
	ERR(pkey_free(other), EINVAL);
	return pass();
}
