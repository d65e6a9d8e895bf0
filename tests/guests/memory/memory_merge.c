/* PR_SET_MEMORY_MERGE, with a mapping that is left out of it. */
#include "../guest.h"
#ifndef PR_SET_MEMORY_MERGE
#define PR_SET_MEMORY_MERGE 67
#define PR_GET_MEMORY_MERGE 68
#endif
int main(void)
{
	if (prctl(PR_SET_MEMORY_MERGE, 1, 0, 0, 0))
		SKIP("the kernel does not merge memory of whole processes");
	char *in = map(4 * PAGE, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *out = map(4 * PAGE, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	OK(madvise(out, 4 * PAGE, MADV_UNMERGEABLE));
	CHECK(vm_flag(in, "mg") && !vm_flag(out, "mg"));
	checkpoint();
	EQ(prctl(PR_GET_MEMORY_MERGE, 0, 0, 0, 0), 1);
	CHECK(vm_flag(in, "mg"));
	CHECK(!vm_flag(out, "mg"));
	char *fresh = map(4 * PAGE, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(vm_flag(fresh, "mg"));
	return pass();
}
