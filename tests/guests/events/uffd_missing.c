/* A thread handles the faults of its process: some pages were filled before the checkpoint, one of them by zeros; the
   others are asked for afterwards, once each, in plain memory and in memory that is inclined to large pages. */
#include "../uffd.h"
#define PAGES 32
#define LARGE (2UL << 20)
static int fd;
static char *area, *large;
static volatile int asked[PAGES], asked_large;
static void *serve(void *unused)
{
	for (;;) {
		char *page = uffd_fault(fd, 0);
		if (page >= area && page < area + PAGES * PAGE) {
			asked[(page - area) / PAGE]++;
			uffd_copy(fd, page, (page - area) / PAGE);
		} else {
			asked_large++;
			uffd_copy(fd, page, 77);
		}
	}
	return unused;
}
static void touch(int first, int last)
{
	for (int i = first; i < last; i++) {
		int before = asked[i];
		filled(area + i * PAGE, PAGE, i, "a page on demand");
		EQ(asked[i], before + 1);
		filled(area + i * PAGE, PAGE, i, "a page that is there");
		EQ(asked[i], before + 1);
	}
}
int main(void)
{
	needs_pagemap_scan();
	pthread_t thread;
	fd = uffd(O_CLOEXEC | O_NONBLOCK, 0);
	area = map(PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	large = map(3 * LARGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	large = (char *)(((uintptr_t)large + LARGE - 1) & ~(LARGE - 1));
	madvise(large, LARGE, MADV_HUGEPAGE);
	uffd_register(fd, area, PAGES * PAGE, UFFDIO_REGISTER_MODE_MISSING);
	uffd_register(fd, large, LARGE, UFFDIO_REGISTER_MODE_MISSING);
	EQ(pthread_create(&thread, NULL, serve, NULL), 0);
	touch(0, 8);
	uffd_zero(fd, area + 8 * PAGE, 2 * PAGE);
	filled(large + 5 * PAGE, PAGE, 77, "large memory");
	uffd_zero(fd, large + 9 * PAGE, PAGE);
	checkpoint();
	CHECK(vm_flag(area, "um"));
	for (int i = 0; i < 8; i++)
		filled(area + i * PAGE, PAGE, i, "a page of before");
	zeroed(area + 8 * PAGE, 2 * PAGE, "zeros of before");
	zeroed(large + 9 * PAGE, PAGE, "zeros of before");
	filled(large + 5 * PAGE, PAGE, 77, "large memory of before");
	for (int i = 0; i < 8; i++)
		EQ(asked[i], 1);
	EQ(asked[8] + asked[9], 0);
	EQ(asked_large, 1);
	for (int i = 10; i < PAGES; i++)
		EQ(pagemap(area + i * PAGE), 0);
	for (size_t i = 0; i < LARGE / PAGE; i++)
		EQ(pagemap(large + i * PAGE) & PRESENT_BIT, i == 5 || i == 9 ? PRESENT_BIT : 0);
	touch(10, PAGES);
	filled(large + 6 * PAGE, PAGE, 77, "large memory");
	EQ(asked_large, 2);
	return pass();
}
