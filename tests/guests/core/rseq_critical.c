/* Threads that run inside a restartable sequence are sent to its abort handler, never on through it. */
#include "../guest.h"
#include <pthread.h>
struct cs { uint32_t version, flags; uint64_t start, offset, abort; } __attribute__((aligned(32)));
struct area { uint32_t cpu_start, cpu; uint64_t cs; uint32_t flags; } __attribute__((aligned(32)));
extern const ptrdiff_t __rseq_offset __attribute__((weak));
extern const unsigned __rseq_size __attribute__((weak));
static volatile int inside, leave, aborted;
static void *run(void *arg)
{
	struct area *a = (struct area *)((char *)__builtin_thread_pointer() + __rseq_offset);
	static struct cs cs;
	asm volatile("lea 1f(%%rip), %%rax\n mov %%rax, %0\n lea 3f(%%rip), %%rcx\n sub %%rax, %%rcx\n mov %%rcx, %1\n"
		     "lea 4f(%%rip), %%rax\n mov %%rax, %2\n lea %3, %%rax\n mov %%rax, %4\n"
		     "1: movl $1, inside(%%rip)\n 2: cmpl $0, leave(%%rip)\n je 2b\n"
		     "3: jmp 5f\n"
		     ".long 0x53053053\n"
		     "4: movl $1, aborted(%%rip)\n"
		     "5:\n"
		     : "=m"(cs.start), "=m"(cs.offset), "=m"(cs.abort), "+m"(cs), "=m"(a->cs)::"rax", "rcx", "memory", "cc");
	a->cs = 0;
	/* The thread stays until the end, so that its tree looks the same whenever the sequence is left. */
	while (!leave)
		usleep(1000);
	return arg;
}
int main(void)
{
	if (!&__rseq_size || !__rseq_size)
		SKIP("the C library registers no rseq area");
	pthread_t t;
	pthread_create(&t, NULL, run, NULL);
	while (!inside)
		sched_yield();
	checkpoint();
	/* A preemption aborts it too: by now it has come about, or it does when this sets the flag. */
	double deadline = now(CLOCK_MONOTONIC) + 5;
	while (!aborted && now(CLOCK_MONOTONIC) < deadline) {
		cpu_set_t one;
		for (int cpu = 0; cpu < 2; cpu++) {
			CPU_ZERO(&one);
			CPU_SET(cpu, &one);
			pthread_setaffinity_np(t, sizeof one, &one);
		}
	}
	leave = 1;
	pthread_join(t, NULL);
	EQ(aborted, 1);
	return pass();
}
