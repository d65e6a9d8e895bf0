/* Shared memory: minor faults of pages that the memory has and the process has not mapped, missing faults of holes, write
   protection of pages that are mapped and of pages that are not. */
#include "../uffd.h"
#define PAGES 16
static int fd;
static char *area;
static volatile int minors[PAGES], missing[PAGES], writes[PAGES];
static void *serve(void *unused)
{
	for (;;) {
		struct uffd_msg m;
		struct pollfd p = { fd, POLLIN, 0 };
		OK(poll(&p, 1, -1));
		EQ(read(fd, &m, sizeof m), sizeof m);
		char *page = (char *)(uintptr_t)m.arg.pagefault.address;
		int i = (page - area) / PAGE;
		if (m.arg.pagefault.flags & UFFD_PAGEFAULT_FLAG_WP) {
			writes[i]++;
			uffd_protect(fd, page, PAGE, false);
		} else if (m.arg.pagefault.flags & UFFD_PAGEFAULT_FLAG_MINOR) {
			minors[i]++;
			uffd_continue(fd, page, PAGE);
		} else {
			missing[i]++;
			uffd_copy(fd, page, i);
		}
	}
	return unused;
}
int main(void)
{
	needs_pagemap_scan();
	pthread_t thread;
	fd = uffd(O_CLOEXEC | O_NONBLOCK, UFFD_FEATURE_MISSING_SHMEM | FEATURE_MINOR_SHMEM | FEATURE_WP_SHMEM |
						  UFFD_FEATURE_PAGEFAULT_FLAG_WP);
	int file = OK(memfd_create("shared", MFD_CLOEXEC));
	OK(ftruncate(file, PAGES * PAGE));
	area = map(PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	char *other = map(PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	for (int i = 0; i < 6; i++)
		fill(other + i * PAGE, PAGE, i);
	uffd_register(fd, area, PAGES * PAGE,
		      UFFDIO_REGISTER_MODE_MINOR | UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_WP);
	EQ(pthread_create(&thread, NULL, serve, NULL), 0);
	filled(area, PAGE, 0, "mapped before");
	filled(area + PAGE, PAGE, 1, "mapped before");
	EQ(minors[0] + minors[1], 2);
	uffd_zero(fd, area + 7 * PAGE, PAGE);
	uffd_protect(fd, area + PAGE, 2 * PAGE, true);
	checkpoint();
	CHECK(vm_flag(area, "um") && vm_flag(area, "uw") && vm_flag(area, "ui"));
	filled(area, PAGE, 0, "mapped before");
	filled(area + PAGE, PAGE, 1, "mapped before");
	EQ(minors[0] + minors[1], 2);
	filled(area + 3 * PAGE, PAGE, 3, "there and not mapped");
	EQ(minors[3], 1);
	zeroed(area + 7 * PAGE, PAGE, "zeros of before");
	EQ(missing[7], 0);
	filled(area + 9 * PAGE, PAGE, 9, "a hole");
	EQ(missing[9], 1);
	area[PAGE] = 1;
	EQ(writes[1], 1);
	area[0] = 1;
	EQ(writes[0], 0);
	CHECK(pagemap(area + 2 * PAGE) & PROTECTED_BIT);
	return pass();
}
