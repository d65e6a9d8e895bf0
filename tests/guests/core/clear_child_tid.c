/* The word that the kernel clears when a thread ends (set_tid_address), waking who waits for it. */
#include "../guest.h"
#include <linux/futex.h>
#include <pthread.h>
static int word = 4711, main_word = 4712;
static pthread_barrier_t set, go;
static void *run(void *arg)
{
	void *address = NULL;
	OK(syscall(SYS_set_tid_address, &word));
	pthread_barrier_wait(&set);
	pthread_barrier_wait(&go);
	OK(prctl(40 /* PR_GET_TID_ADDRESS */, &address));
	EQ(address, &word);
	return arg;
}
int main(void)
{
	pthread_t t;
	pthread_attr_t a;
	void *address = NULL;
	pthread_barrier_init(&set, NULL, 2);
	pthread_barrier_init(&go, NULL, 2);
	pthread_attr_init(&a);
	pthread_attr_setdetachstate(&a, PTHREAD_CREATE_DETACHED);
	pthread_create(&t, &a, run, NULL);
	OK(syscall(SYS_set_tid_address, &main_word));
	pthread_barrier_wait(&set);
	checkpoint();
	OK(prctl(40, &address));
	EQ(address, &main_word);
	EQ(main_word, 4712);
	EQ(word, 4711);
	pthread_barrier_wait(&go);
	int v;
	while ((v = __atomic_load_n(&word, __ATOMIC_ACQUIRE)) != 0)
		syscall(SYS_futex, &word, FUTEX_WAIT, v, NULL, NULL, 0);
	return pass();
}
