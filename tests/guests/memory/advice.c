/* What madvise set, mapping by mapping. */
#include "../guest.h"
static const struct { int advice; const char *flag; } a[] = {
	{ MADV_DONTFORK, "dc" }, { MADV_DONTDUMP, "dd" }, { MADV_WIPEONFORK, "wf" }, { MADV_MERGEABLE, "mg" },
	{ MADV_HUGEPAGE, "hg" }, { MADV_NOHUGEPAGE, "nh" }, { MADV_SEQUENTIAL, "sr" }, { MADV_RANDOM, "rr" },
};
#define N (int)(sizeof a / sizeof *a)
int main(void)
{
	char *p[N];
	bool done[N];
	for (int i = 0; i < N; i++) {
		p[i] = map(4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		fill(p[i], 2 * PAGE, i);
		done[i] = madvise(p[i], 4 * PAGE, a[i].advice) == 0; /* a kernel may lack KSM or THP */
		if (done[i])
			CHECK(vm_flag(p[i], a[i].flag));
	}
	CHECK(done[0] && done[1] && done[2]);
	checkpoint();
	for (int i = 0; i < N; i++) {
		filled(p[i], 2 * PAGE, i, a[i].flag);
		if (done[i] && !vm_flag(p[i], a[i].flag))
			FAIL("the mapping with advice %d has lost its flag %s", a[i].advice, a[i].flag);
	}
	pid_t kid = OK(fork());
	if (!kid) { /* the kernel acts on them */
		STR_EQ(maps_line(p[0]), "");
		zeroed(p[2], 2 * PAGE, "wiped on fork");
		filled(p[1], 2 * PAGE, 1, "not for core dumps");
		_exit(0);
	}
	reap_ok(kid);
	return pass();
}
