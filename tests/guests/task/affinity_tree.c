/* A parent bound to one processor, and a child to another. */
#include "../guest.h"
static void bind_to(int cpu)
{
	cpu_set_t one;
	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	if (sched_setaffinity(0, sizeof one, &one))
		SKIP("processor %d is not there", cpu);
}
static void bound_to(int cpu)
{
	cpu_set_t now;
	OK(sched_getaffinity(0, sizeof now, &now));
	EQ(CPU_COUNT(&now), 1);
	CHECK(CPU_ISSET(cpu, &now));
}
int main(void)
{
	bind_to(1);
	struct latch ready = latch_new();
	pid_t child = OK(fork());
	if (!child) {
		bind_to(0);
		latch_open(ready);
		wait_go();
		bound_to(0);
		_exit(0);
	}
	latch_wait(ready);
	checkpoint();
	bound_to(1);
	reap_ok(child);
	return pass();
}
