/* MAP_HUGETLB, private and shared with a child. */
#include "../guest.h"
#define HUGE (2UL << 20)
int main(void)
{
	char *p = mmap(NULL, 2 * HUGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);
	char *s = mmap(NULL, HUGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);
	if (p == MAP_FAILED || s == MAP_FAILED)
		SKIP("no huge pages of 2 MiB: %s", strerror(errno));
	fill(p, HUGE, 1);
	fill(s, HUGE, 2);
	struct latch l = latch_new();
	pid_t kid = OK(fork());
	if (!kid) {
		latch_open(l);
		wait_go();
		while (__atomic_load_n((int *)s, __ATOMIC_ACQUIRE) != 5)
			sched_yield();
		__atomic_store_n((int *)s, 6, __ATOMIC_RELEASE);
		_exit(0);
	}
	latch_wait(l);
	checkpoint();
	filled(p, HUGE, 1, "private huge pages");
	filled(s, HUGE, 2, "shared huge pages");
	zeroed(p + HUGE, HUGE, "an untouched huge page");
	CHECK(vm_flag(p, "ht"));
	CHECK(vm_flag(s, "ht"));
	__atomic_store_n((int *)s, 5, __ATOMIC_RELEASE);
	reap_ok(kid);
	EQ(*(int *)s, 6);
	return pass();
}
