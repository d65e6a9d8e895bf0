/* Sixteen GiB reserved, a few pages used: the rest stays untouched. */
#include "../guest.h"
#define SIZE (16UL << 30)
int main(void)
{
	char *p = map(SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	/* No neighbours come with a page. Fails where there are no huge pages anyway. */
	madvise(p, SIZE, MADV_NOHUGEPAGE);
	for (int i = 0; i < 64; i++)
		fill(p + i * (SIZE / 64), PAGE, i);
	unsigned long rss = proc_field(getpid(), "status", "VmRSS", 10);
	checkpoint();
	CHECK(proc_field(getpid(), "status", "VmRSS", 10) < rss + 8192);
	for (int i = 0; i < 64; i++) {
		filled(p + i * (SIZE / 64), PAGE, i, "a page of the reserve");
		CHECK(!(pagemap(p + i * (SIZE / 64) + PAGE) >> 63));
	}
	CHECK(vm_flag(p, "nr"));
	return pass();
}
