/* userfaultfd(2), ioctl_userfaultfd(2). Headers may be older than the kernel. */
#include "guest.h"
#include <linux/userfaultfd.h>
#include <pthread.h>
#ifndef UFFDIO_CONTINUE
#error "headers of Linux 5.13 or later are needed"
#endif
#define FEATURE_THREAD_ID (1ULL << 8)
#define FEATURE_MINOR_SHMEM (1ULL << 10)
#define FEATURE_EXACT_ADDRESS (1ULL << 11)
#define FEATURE_WP_SHMEM (1ULL << 12)
#define FEATURE_WP_UNPOPULATED (1ULL << 13)
#define FEATURE_WP_ASYNC (1ULL << 15)
#define PROTECTED_BIT (1ULL << 57)
#define PRESENT_BIT (1ULL << 63)

/* What is watched can be saved (PAGEMAP_SCAN, Linux 6.7). */
static inline void needs_pagemap_scan(void)
{
	uint64_t nothing[12] = { sizeof nothing };
	int fd = OK(open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC));
	if (ioctl(fd, 0xc0606610, nothing) && errno == ENOTTY)
		SKIP("the kernel has no PAGEMAP_SCAN");
	close(fd);
}
static inline int uffd_bare(int flags)
{
	int fd = (int)syscall(SYS_userfaultfd, flags);
	if (fd < 0)
		SKIP("no userfaultfd: %s", strerror(errno));
	return fd;
}
static inline int uffd(int flags, uint64_t features)
{
	struct uffdio_api api = { .api = UFFD_API, .features = features };
	int fd = uffd_bare(flags);
	if (ioctl(fd, UFFDIO_API, &api))
		SKIP("no userfaultfd with the features %#llx: %s", (unsigned long long)features, strerror(errno));
	return fd;
}
static inline void uffd_register(int fd, void *at, size_t len, int modes)
{
	struct uffdio_register r = { { (uintptr_t)at, len }, modes, 0 };
	OK(ioctl(fd, UFFDIO_REGISTER, &r));
}
static inline void uffd_zero(int fd, void *at, size_t len)
{
	struct uffdio_zeropage z = { { (uintptr_t)at, len }, 0, 0 };
	OK(ioctl(fd, UFFDIO_ZEROPAGE, &z));
}
static inline void uffd_copy(int fd, void *at, unsigned seed)
{
	static __thread char page[PAGE];
	fill(page, PAGE, seed);
	struct uffdio_copy c = { (uintptr_t)at, (uintptr_t)page, PAGE, 0, 0 };
	OK(ioctl(fd, UFFDIO_COPY, &c));
}
static inline void uffd_protect(int fd, void *at, size_t len, bool on)
{
	struct uffdio_writeprotect w = { { (uintptr_t)at, len }, on ? UFFDIO_WRITEPROTECT_MODE_WP : 0 };
	OK(ioctl(fd, UFFDIO_WRITEPROTECT, &w));
}
static inline void uffd_continue(int fd, void *at, size_t len)
{
	struct uffdio_continue c = { { (uintptr_t)at, len }, 0, 0 };
	OK(ioctl(fd, UFFDIO_CONTINUE, &c));
}
/* The features that were agreed on, as the kernel shows them. */
static inline unsigned long long uffd_features(int fd)
{
	char path[64], line[256];
	unsigned long long features = 0;
	snprintf(path, sizeof path, "/proc/self/fdinfo/%d", fd);
	FILE *f = fopen(path, "re");
	CHECK(f);
	while (fgets(line, sizeof line, f))
		if (sscanf(line, "API:\taa:%llx:", &features) == 1)
			break;
	fclose(f);
	return features;
}
/* The next message, a fault; its address. */
static inline char *uffd_fault(int fd, unsigned flags)
{
	struct uffd_msg m;
	struct pollfd p = { fd, POLLIN, 0 };
	/* With a time to wait for, a checkpoint ends it. */
	while (poll(&p, 1, 60000) < 0)
		CHECK(errno == EINTR);
	EQ(read(fd, &m, sizeof m), sizeof m);
	EQ(m.event, UFFD_EVENT_PAGEFAULT);
	EQ(m.arg.pagefault.flags & ~UFFD_PAGEFAULT_FLAG_WRITE, flags);
	return (char *)(uintptr_t)m.arg.pagefault.address;
}
static inline bool uffd_quiet(int fd)
{
	struct pollfd p = { fd, POLLIN, 0 };
	return OK(poll(&p, 1, 0)) == 0;
}
