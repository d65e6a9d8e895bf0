/* Shared anonymous memory of parent and child: one object after the restore too, in parts and with other rights. */
#include "../guest.h"
int main(void)
{
	char *p = map(64 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	char *own = map(8 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	fill(p, 8 * PAGE, 1);
	fill(p + 8 * PAGE, 8 * PAGE, 1);
	fill(own, 8 * PAGE, 2);
	struct latch l = latch_new();
	pid_t kid = OK(fork());
	if (!kid) {
		OK(munmap(own, 8 * PAGE));
		OK(munmap(p, 8 * PAGE)); /* the child sees a part, one page of it read-only */
		OK(mprotect(p + 9 * PAGE, PAGE, PROT_READ));
		fill(p + 20 * PAGE, PAGE, 3);
		latch_open(l);
		wait_go();
		filled(p + 8 * PAGE, 8 * PAGE, 1, "the child's part");
		while (__atomic_load_n((int *)(p + 32 * PAGE), __ATOMIC_ACQUIRE) != 77)
			sched_yield();
		fill(p + 33 * PAGE, PAGE, 4);
		__atomic_store_n((int *)(p + 32 * PAGE), 78, __ATOMIC_RELEASE);
		_exit(0);
	}
	latch_wait(l);
	checkpoint();
	filled(p, 8 * PAGE, 1, "the parent's part");
	filled(p + 8 * PAGE, 8 * PAGE, 1, "the common part");
	filled(p + 20 * PAGE, PAGE, 3, "written by the child");
	filled(own, 8 * PAGE, 2, "the parent's own");
	zeroed(p + 40 * PAGE, 24 * PAGE, "never touched");
	__atomic_store_n((int *)(p + 32 * PAGE), 77, __ATOMIC_RELEASE);
	reap_ok(kid);
	EQ(*(int *)(p + 32 * PAGE), 78);
	filled(p + 33 * PAGE, PAGE, 4, "written by the child after the checkpoint");
	return pass();
}
