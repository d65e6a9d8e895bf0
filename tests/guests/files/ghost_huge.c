/* A deleted file of huge pages, mapped, with a page that was never touched. */
#include "../files.h"
#include <sys/mount.h>
#define HUGE (2UL << 20)
int main(void)
{
	OK(mkdir("huge", 0700));
	if (mount("none", "huge", "hugetlbfs", 0, "pagesize=2M"))
		SKIP("no hugetlbfs: %s", strerror(errno));
	int fd = OK(open("huge/f", O_CREAT | O_RDWR, 0640)), reads = OK(open("huge/f", O_RDONLY));
	if (ftruncate(fd, 3 * HUGE))
		SKIP("no file of huge pages: %s", strerror(errno));
	char *p = mmap(NULL, 2 * HUGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, HUGE);
	if (p == MAP_FAILED)
		SKIP("no huge pages of 2 MiB: %s", strerror(errno));
	fill(p, HUGE, 1);
	p[2 * HUGE - 1] = 'z';
	OK(unlink("huge/f"));
	checkpoint();
	filled(p, HUGE, 1, "the mapping");
	zeroed(p + HUGE, HUGE - 1, "the rest");
	EQ(p[2 * HUGE - 1], 'z');
	struct stat st = stat_of(fd);
	EQ(st.st_size, 3 * HUGE);
	EQ(st.st_mode & 07777, 0640);
	EQ(st.st_nlink, 0);
	EQ(st.st_blksize, HUGE);
	EQ(st.st_blocks, 2 * HUGE / 512);
	CHECK(vm_flag(p, "ht"));
	char byte;
	EQ(pread(reads, &byte, 1, 3 * HUGE - 1), 1);
	EQ(byte, 'z');
	return pass();
}
