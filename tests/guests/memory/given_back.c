/* Memory whose pages were given back: MADV_DONTNEED, MADV_FREE, a hole punched into shared memory. */
#include "../guest.h"
int main(void)
{
	char *p = map(8 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0),
	     *s = map(8 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	fill(p, 8 * PAGE, 1);
	fill(s, 8 * PAGE, 2);
	OK(madvise(p + 2 * PAGE, 2 * PAGE, MADV_DONTNEED));
	OK(madvise(s + 3 * PAGE, PAGE, MADV_REMOVE));
	checkpoint();
	zeroed(p + 2 * PAGE, 2 * PAGE, "pages given back");
	zeroed(s + 3 * PAGE, PAGE, "a punched hole");
	filled(p, 2 * PAGE, 1, "before them");
	filled(s, 3 * PAGE, 2, "before it");
	return pass();
}
