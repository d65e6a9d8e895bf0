/* The restartable-sequence area stays registered: the kernel keeps writing the cpu into it. */
#include "../guest.h"
#include <pthread.h>
struct area { uint32_t cpu_start, cpu; uint64_t cs; uint32_t flags, node, mm_cid; } __attribute__((aligned(32)));
extern const ptrdiff_t __rseq_offset __attribute__((weak));
extern const unsigned __rseq_size __attribute__((weak));
#define SIG 0x53053053
static pthread_barrier_t set, go;
static void live(volatile struct area *a)
{
	/* A registered area is refused a second time, and follows the cpu. */
	ERR(syscall(SYS_rseq, a, 32, 0, SIG), EBUSY);
	ERR(syscall(SYS_rseq, a, 32, 1, SIG + 1), EPERM);
	cpu_set_t all, one;
	OK(sched_getaffinity(0, sizeof all, &all));
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
		if (CPU_ISSET(cpu, &all)) {
			CPU_ZERO(&one);
			CPU_SET(cpu, &one);
			OK(sched_setaffinity(0, sizeof one, &one));
			EQ(a->cpu, cpu);
		}
	OK(sched_setaffinity(0, sizeof all, &all));
}
static volatile struct area *mine(void)
{
	return (volatile struct area *)((char *)__builtin_thread_pointer() + __rseq_offset);
}
static void *run(void *arg)
{
	pthread_barrier_wait(&set);
	pthread_barrier_wait(&go);
	live(mine());
	return arg;
}
int main(void)
{
	if (!&__rseq_size || !__rseq_size)
		SKIP("the C library registers no rseq area");
	live(mine());
	pthread_t t;
	pthread_barrier_init(&set, NULL, 2);
	pthread_barrier_init(&go, NULL, 2);
	pthread_create(&t, NULL, run, NULL);
	pthread_barrier_wait(&set);
	checkpoint();
	live(mine());
	pthread_barrier_wait(&go);
	pthread_join(t, NULL);
	return pass();
}
