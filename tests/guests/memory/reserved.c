/* Address space that is reserved, with little in it: far more than the machine has memory for. */
#include "../guest.h"
#define TIB (1UL << 40)
#define SHARED (1UL << 38)
int main(void)
{
	int flags = MAP_ANONYMOUS | MAP_NORESERVE;
	char *none = map(TIB, PROT_NONE, MAP_PRIVATE | flags, -1, 0);
	OK(mprotect(none + TIB / 32, 1 << 20, PROT_READ | PROT_WRITE));
	fill(none + TIB / 32, 1 << 20, 1);
	char *sparse = map(4 * TIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | flags, -1, 0);
	for (unsigned long i = 0; i < 1000; i++)
		sparse[i * (TIB >> 8)] = (char)(i % 100 + 1);
	char *shared = map(SHARED, PROT_READ | PROT_WRITE, MAP_SHARED | flags, -1, 0);
	shared[SHARED / 2] = 9;
	shared[12345] = 7;
	checkpoint();
	filled(none + TIB / 32, 1 << 20, 1, "the part in use");
	for (unsigned long i = 0; i < 1000; i++)
		EQ(sparse[i * (TIB >> 8)], i % 100 + 1);
	EQ(shared[SHARED / 2], 9);
	EQ(shared[12345], 7);
	CHECK(vm_flag(sparse, "nr"));
	OK(mprotect(none, PAGE, PROT_READ | PROT_WRITE));
	none[0] = 1;
	return pass();
}
