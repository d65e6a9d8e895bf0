/* Turns taken by condition variables between threads, and by a futex in shared memory between processes. */
#include "../motion.h"
#include <linux/futex.h>
#include <pthread.h>
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t turn = PTHREAD_COND_INITIALIZER;
static unsigned long whose, end = ~0UL;
static void *player(void *me)
{
	pthread_mutex_lock(&lock);
	for (;;) {
		while (whose % 3 != (unsigned long)me && whose < end)
			pthread_cond_wait(&turn, &lock);
		if (whose >= end)
			break;
		whose++;
		pthread_cond_broadcast(&turn);
	}
	pthread_mutex_unlock(&lock);
	return NULL;
}
static void futex(uint32_t *at, int op, uint32_t value)
{
	if (syscall(SYS_futex, at, op, value, NULL, NULL, 0) < 0 && errno != EAGAIN && errno != EINTR)
		FAIL("futex %d: %s", op, strerror(errno));
}
struct shared {
	uint32_t turn, over;
	uint64_t count[2];
};
static void across(struct shared *s, uint32_t me)
{
	for (;;) {
		uint32_t now = __atomic_load_n(&s->turn, __ATOMIC_SEQ_CST);
		if (__atomic_load_n(&s->over, __ATOMIC_SEQ_CST))
			break;
		if (now % 2 != me) {
			futex(&s->turn, FUTEX_WAIT, now);
			continue;
		}
		s->count[me]++;
		if (me == 0 && !moving())
			__atomic_store_n(&s->over, 1, __ATOMIC_SEQ_CST);
		__atomic_store_n(&s->turn, now + 1, __ATOMIC_SEQ_CST);
		futex(&s->turn, FUTEX_WAKE, 1);
		step();
	}
}
int main(void)
{
	motion_begin();
	struct shared *s = map(PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t kid = CHILD(across(s, 1));
	pthread_t t[3];
	for (long i = 0; i < 3; i++)
		EQ(pthread_create(&t[i], NULL, player, (void *)i), 0);
	in_motion();
	across(s, 0);
	reap_ok(kid);
	EQ(s->count[0] - s->count[1] <= 1, 1);
	pthread_mutex_lock(&lock);
	while (whose < 3)
		pthread_cond_wait(&turn, &lock);
	end = whose;
	pthread_cond_broadcast(&turn);
	pthread_mutex_unlock(&lock);
	for (int i = 0; i < 3; i++)
		EQ(pthread_join(t[i], NULL), 0);
	return pass();
}
