/* Memory at address 0, where a privileged process may have some, and in the last page of the address space. */
#include "../guest.h"
#define LAST 0x7fffffffe000UL
static char *volatile zero; /* unknown to the compiler, which takes address 0 for an error */
int main(void)
{
	int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;
	if (mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, flags, -1, 0) == MAP_FAILED)
		SKIP("no memory at address 0: %s", strerror(errno));
	char *last = mmap((void *)LAST, PAGE, PROT_READ | PROT_WRITE, flags | MAP_FIXED_NOREPLACE, -1, 0);
	CHECK(last != MAP_FAILED);
	fill(zero, 2 * PAGE, 1);
	fill(last, PAGE, 2);
	checkpoint();
	filled(zero, 2 * PAGE, 1, "memory at address 0");
	filled(last, PAGE, 2, "the last page");
	return pass();
}
