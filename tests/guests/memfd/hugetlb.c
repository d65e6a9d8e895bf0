/* A memfd of huge pages. */
#include "../guest.h"
#define HUGE (2UL << 20)
int main(void)
{
	int fd = memfd_create("huge", MFD_HUGETLB | MFD_ALLOW_SEALING);
	if (fd < 0 || ftruncate(fd, 3 * HUGE))
		SKIP("no memfd of huge pages: %s", strerror(errno));
	char *p = mmap(NULL, 2 * HUGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED)
		SKIP("no huge pages of 2 MiB: %s", strerror(errno));
	fill(p, HUGE, 1);
	OK(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK));
	checkpoint();
	filled(p, HUGE, 1, "the mapping");
	zeroed(p + HUGE, HUGE, "the untouched page");
	struct stat st;
	OK(fstat(fd, &st));
	EQ(st.st_size, 3 * HUGE);
	EQ(st.st_blksize, HUGE);
	EQ(fcntl(fd, F_GET_SEALS), F_SEAL_SHRINK);
	CHECK(vm_flag(p, "ht"));
	return pass();
}
