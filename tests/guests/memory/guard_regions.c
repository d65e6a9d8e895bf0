/* Guard regions (MADV_GUARD_INSTALL, Linux 6.13) still fault; between them is memory. */
#include "../guest.h"
#include <setjmp.h>
#define GUARD_INSTALL 102
#define GUARD_REMOVE 103
static sigjmp_buf back;
static void segv(int s) { siglongjmp(back, s); }
static bool faults(volatile char *p)
{
	if (sigsetjmp(back, 1))
		return true;
	(void)*p;
	return false;
}
int main(void)
{
	char *p = map(16 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	fill(p, 16 * PAGE, 1);
	char *want = malloc(16 * PAGE);
	fill(want, 16 * PAGE, 1);
	if (madvise(p + 3 * PAGE, 2 * PAGE, GUARD_INSTALL))
		SKIP("the kernel has no guard regions (Linux 6.13)");
	OK(madvise(p, PAGE, GUARD_INSTALL));
	OK(madvise(p + 15 * PAGE, PAGE, GUARD_INSTALL));
	int fd = OK(open("f", O_CREAT | O_RDWR, 0600));
	EQ(write(fd, want, 16 * PAGE), 16 * PAGE);
	char *f = map(4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	bool on_file = madvise(f + PAGE, PAGE, GUARD_INSTALL) == 0; /* Linux 6.15 */
	signal(SIGSEGV, segv);
	checkpoint();
	for (int i = 0; i < 16; i++) {
		bool guard = i == 0 || i == 3 || i == 4 || i == 15;
		if (faults(p + i * PAGE) != guard)
			FAIL("page %d %s", i, guard ? "lost its guard" : "faults");
		if (!guard)
			CHECK(!memcmp(p + i * PAGE, want + i * PAGE, PAGE));
	}
	if (on_file) {
		CHECK(faults(f + PAGE));
		CHECK(!faults(f));
	}
	OK(madvise(p + 3 * PAGE, PAGE, GUARD_REMOVE));
	zeroed(p + 3 * PAGE, PAGE, "a page whose guard was removed");
	return pass();
}
