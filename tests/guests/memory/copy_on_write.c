/* Pages shared copy-on-write by parent, child and grandchild are still shared, and still private. */
#include "../guest.h"
#define N 256
static char *want;
/* A page still has the content that fill(p, N * PAGE, 1) gave it. */
static void original(const char *p, int from, int to, const char *who)
{
	if (memcmp(p + from * PAGE, want + from * PAGE, (to - from) * PAGE))
		FAIL("%s: pages %d to %d are not the original ones", who, from, to);
}
static void shared_pages(const char *p, int from, int to, bool expected, const char *who)
{
	for (int i = from; i < to; i++) {
		uint64_t e = pagemap(p + i * PAGE);
		if (!(e >> 63) && !(e >> 62 & 1))
			FAIL("%s: page %d is not there", who, i);
		if (((e >> 56) & 1) == expected)
			FAIL("%s: page %d is %s", who, i, expected ? "not shared any more" : "shared");
	}
}
int main(void)
{
	char *p = map(N * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct latch l = latch_new();
	char checked[PATH_MAX];
	snprintf(checked, sizeof checked, "%s/checked", guest_dir);
	want = map(N * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	madvise(p, N * PAGE, MADV_NOHUGEPAGE);
	fill(p, N * PAGE, 1);
	fill(want, N * PAGE, 1);
	pid_t kid = OK(fork());
	if (!kid) {
		fill(p + 10 * PAGE, 10 * PAGE, 2); /* its own from here */
		pid_t grand = OK(fork());
		if (!grand) {
			fill(p + 30 * PAGE, PAGE, 3);
			latch_open(l);
			wait_go();
			original(p, 0, 10, "grandchild");
			filled(p + 10 * PAGE, 10 * PAGE, 2, "grandchild");
			filled(p + 30 * PAGE, PAGE, 3, "grandchild");
			shared_pages(p, 0, 20, true, "grandchild");
			fill(p + 40 * PAGE, PAGE, 4);
			while (access(checked, F_OK)) /* what ends shares nothing any more */
				usleep(100);
			_exit(0);
		}
		wait_go();
		filled(p + 10 * PAGE, 10 * PAGE, 2, "child");
		original(p, 20, N, "child");
		reap_ok(grand);
		_exit(0);
	}
	latch_wait(l);
	fill(p + 50 * PAGE, PAGE, 5);
	checkpoint();
	shared_pages(p, 60, N, true, "parent");
	shared_pages(p, 50, 51, false, "parent");
	original(p, 0, 50, "parent");
	filled(p + 50 * PAGE, PAGE, 5, "parent");
	fill(p + 70 * PAGE, PAGE, 6);
	OK(mkdir(checked, 0700));
	reap_ok(kid);
	filled(p + 70 * PAGE, PAGE, 6, "parent");
	return pass();
}
