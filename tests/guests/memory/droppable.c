/* MAP_DROPPABLE (Linux 6.11): it is there, still droppable, and each page has its content or zeros. */
#include "../guest.h"
#ifndef MAP_DROPPABLE
#define MAP_DROPPABLE 8
#endif
int main(void)
{
	char *p = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_DROPPABLE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED)
		SKIP("the kernel has no MAP_DROPPABLE (Linux 6.11)");
	memset(p, 'd', 2 * PAGE);
	checkpoint();
	for (int i = 0; i < 4; i++) {
		char *page = p + i * PAGE, first = page[0];
		CHECK(first == 0 || (first == 'd' && i < 2));
		for (unsigned k = 0; k < PAGE; k++)
			EQ(page[k], first);
	}
	CHECK(vm_flag(p, "dp"));
	memset(p, 'e', 4 * PAGE);
	return pass();
}
