/* Write protection that the kernel lifts by itself (WP_ASYNC): which pages were written to stays known. */
#include "../uffd.h"
#define PAGES 8
int main(void)
{
	int fd = uffd(O_CLOEXEC | O_NONBLOCK, FEATURE_WP_ASYNC | FEATURE_WP_UNPOPULATED);
	char *area = map(PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	fill(area, 4 * PAGE, 1);
	uffd_register(fd, area, PAGES * PAGE, UFFDIO_REGISTER_MODE_WP);
	uffd_protect(fd, area, PAGES * PAGE, true);
	area[PAGE] = 0;
	area[5 * PAGE] = 5;
	checkpoint();
	for (int i = 0; i < PAGES; i++)
		EQ(pagemap(area + i * PAGE) & PROTECTED_BIT, i == 1 || i == 5 ? 0 : PROTECTED_BIT);
	area[2 * PAGE] = 2;
	area[6 * PAGE] = 6;
	for (int i = 0; i < PAGES; i++)
		EQ(pagemap(area + i * PAGE) & PROTECTED_BIT, i % 4 == 1 || i % 4 == 2 ? 0 : PROTECTED_BIT);
	EQ(area[5 * PAGE], 5);
	CHECK(uffd_quiet(fd));
	return pass();
}
