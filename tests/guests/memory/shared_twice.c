/* One shared object mapped twice in one process (mremap with size 0). */
#include "../guest.h"
int main(void)
{
	char *a = map(4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	fill(a, 4 * PAGE, 1);
	char *b = mremap(a, 0, 2 * PAGE, MREMAP_MAYMOVE);
	CHECK(b != MAP_FAILED && b != a);
	checkpoint();
	filled(b, 2 * PAGE, 1, "the second view");
	a[5] = 42;
	EQ(b[5], 42);
	b[PAGE] = 43;
	EQ(a[PAGE], 43);
	return pass();
}
