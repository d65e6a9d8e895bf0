/* Memory in transparent huge pages. */
#include "../guest.h"
#define SIZE (16UL << 20)
int main(void)
{
	char *area = map(SIZE + (2 << 20), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *p = (char *)(((uintptr_t)area + (2 << 20) - 1) & ~((2UL << 20) - 1));
	if (madvise(p, SIZE, MADV_HUGEPAGE))
		SKIP("no transparent huge pages");
	fill(p, SIZE, 3);
	OK(munmap(p + (6UL << 20) + PAGE, 3 * PAGE)); /* splits one */
	checkpoint();
	char *want = malloc(SIZE);
	fill(want, SIZE, 3);
	CHECK(!memcmp(p, want, (6UL << 20) + PAGE));
	CHECK(!memcmp(p + (6UL << 20) + 4 * PAGE, want + (6UL << 20) + 4 * PAGE, SIZE - (6UL << 20) - 4 * PAGE));
	CHECK(vm_flag(p, "hg"));
	return pass();
}
