/* Mappings beyond 47 bits, where five levels of page tables reach. */
#include "../guest.h"
int main(void)
{
	char *want = (char *)(1UL << 50), *last = (char *)((1UL << 56) - 2 * PAGE);
	int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE;
	char *p = mmap(want, 4 * PAGE, PROT_READ | PROT_WRITE, flags, -1, 0);
	if (p != want)
		SKIP("the machine has four levels of page tables");
	EQ(mmap(last, PAGE, PROT_READ | PROT_WRITE, flags, -1, 0), last);
	fill(p, 2 * PAGE, 1);
	fill(last, PAGE, 2);
	checkpoint();
	filled(p, 2 * PAGE, 1, "a high mapping");
	zeroed(p + 2 * PAGE, 2 * PAGE, "its untouched pages");
	filled(last, PAGE, 2, "the last page");
	return pass();
}
