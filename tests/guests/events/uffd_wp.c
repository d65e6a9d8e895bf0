/* Write protection: of pages with contents, of pages of zeros, and, with WP_UNPOPULATED, of pages that were never there,
   alone and together with missing faults. Others of the same ranges can be written. */
#include "../uffd.h"
#define PAGES 16
#define ZEROS 6
static int fd, both;
static char *area, *mixed;
static volatile int told, missed;
static void *serve(void *of)
{
	int mine = *(int *)of;
	for (;;) {
		struct uffd_msg m;
		struct pollfd p = { mine, POLLIN, 0 };
		OK(poll(&p, 1, -1));
		EQ(read(mine, &m, sizeof m), sizeof m);
		char *page = (char *)(uintptr_t)m.arg.pagefault.address;
		if (m.arg.pagefault.flags & UFFD_PAGEFAULT_FLAG_WP) {
			told++;
			uffd_protect(mine, page, PAGE, false);
		} else {
			missed++;
			uffd_copy(mine, page, 9);
		}
	}
	return of;
}
static void write_to(char *page, int expected)
{
	int before = told;
	*(volatile char *)page = *(volatile char *)page;
	if (told - before != expected)
		FAIL("page %p: %d messages, expected %d", page, told - before, expected);
}
int main(void)
{
	pthread_t thread;
	fd = uffd(O_CLOEXEC | O_NONBLOCK, UFFD_FEATURE_PAGEFAULT_FLAG_WP);
	both = uffd(O_CLOEXEC | O_NONBLOCK, UFFD_FEATURE_PAGEFAULT_FLAG_WP | FEATURE_WP_UNPOPULATED);
	area = map(PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	mixed = map(PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	fill(area, ZEROS * PAGE, 1);
	zeroed(area + ZEROS * PAGE, 2 * PAGE, "fresh pages");
	fill(mixed, 2 * PAGE, 2);
	uffd_register(fd, area, PAGES * PAGE, UFFDIO_REGISTER_MODE_WP);
	uffd_protect(fd, area, 4 * PAGE, true);
	uffd_protect(fd, area + ZEROS * PAGE, PAGE, true);
	uffd_register(both, mixed, PAGES * PAGE, UFFDIO_REGISTER_MODE_WP | UFFDIO_REGISTER_MODE_MISSING);
	uffd_protect(both, mixed + PAGE, 4 * PAGE, true);
	EQ(pthread_create(&thread, NULL, serve, &fd), 0);
	EQ(pthread_create(&thread, NULL, serve, &both), 0);
	write_to(area, 1);
	checkpoint();
	CHECK(vm_flag(area, "uw") && vm_flag(mixed, "uw") && vm_flag(mixed, "um"));
	filled(area, ZEROS * PAGE, 1, "pages of before");
	filled(mixed, 2 * PAGE, 2, "pages of before");
	for (int i = 0; i < PAGES; i++) {
		EQ(pagemap(area + i * PAGE) & PROTECTED_BIT, (i && i < 4) || i == ZEROS ? PROTECTED_BIT : 0);
		EQ(pagemap(mixed + i * PAGE) & PROTECTED_BIT, i && i < 5 ? PROTECTED_BIT : 0);
	}
	write_to(area, 0);
	write_to(area + PAGE, 1);
	write_to(area + 4 * PAGE, 0);
	write_to(area + ZEROS * PAGE, 1);
	write_to(area + (ZEROS + 1) * PAGE, 0);
	write_to(area + (ZEROS + 2) * PAGE, 0);
	filled(area, ZEROS * PAGE, 1, "pages afterwards");
	EQ(missed, 0);
	write_to(mixed, 0);
	write_to(mixed + PAGE, 1);
	EQ(missed, 0);
	filled(mixed + 9 * PAGE, PAGE, 9, "a missing page");
	EQ(missed, 1);
	filled(mixed + 3 * PAGE, PAGE, 9, "a missing page that is protected");
	EQ(missed, 2);
	return pass();
}
