/* mlockall(MCL_FUTURE): mappings made later are locked, or locked on fault in a child. */
#include "../guest.h"
#ifndef MCL_ONFAULT
#define MCL_ONFAULT 4
#endif
int main(void)
{
	struct rlimit big = { 1UL << 32, 1UL << 32 };
	(void)setrlimit(RLIMIT_MEMLOCK, &big);
	char *page = map(PAGE, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (mlock2(page, PAGE, MLOCK_ONFAULT))
		SKIP("memory may not be locked");
	/* Older kernels do not show it. */
	bool told = vm_flag(page, "lf");
	OK(munmap(page, PAGE));
	struct latch l = latch_new();
	pid_t child = OK(fork());
	if (!child) {
		if (mlockall(MCL_FUTURE | MCL_ONFAULT))
			SKIP("memory may not be locked");
		latch_open(l);
		wait_go();
		char *p = map(PAGE, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		CHECK(vm_flag(p, "lo") && vm_flag(p, "lf") == told);
		_exit(0);
	}
	latch_wait(l);
	char *before = map(PAGE, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	OK(mlockall(MCL_FUTURE));
	char *after = map(3 * PAGE, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(!vm_flag(before, "lo") && vm_flag(after, "lo"));
	checkpoint();
	CHECK(!vm_flag(before, "lo") && vm_flag(after, "lo"));
	char *p = map(PAGE, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(vm_flag(p, "lo") && !vm_flag(p, "lf"));
	CHECK(pagemap(p) >> 63);
	reap_ok(child);
	return pass();
}
