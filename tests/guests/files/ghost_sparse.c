/* A deleted file of 256 MiB that holds two pages: its holes stay holes. */
#include "../guest.h"
int main(void)
{
	char *block = malloc(PAGE), *got = malloc(PAGE);
	fill(block, PAGE, 5);
	int fd = OK(open("sparse", O_CREAT | O_RDWR, 0600));
	EQ(pwrite(fd, block, PAGE, 40 << 20), PAGE);
	EQ(pwrite(fd, block, PAGE, 200 << 20), PAGE);
	OK(ftruncate(fd, 256 << 20));
	OK(unlink("sparse"));
	struct stat st;
	OK(fstat(fd, &st));
	long blocks = st.st_blocks;
	checkpoint();
	OK(fstat(fd, &st));
	EQ(st.st_size, 256 << 20);
	if (st.st_blocks > blocks + 16)
		FAIL("the file has %ld blocks now, before it had %ld", (long)st.st_blocks, blocks);
	EQ(pread(fd, got, PAGE, 40 << 20), PAGE);
	filled(got, PAGE, 5, "the first page");
	EQ(pread(fd, got, PAGE, 200 << 20), PAGE);
	filled(got, PAGE, 5, "the second page");
	EQ(pread(fd, got, PAGE, 100 << 20), PAGE);
	zeroed(got, PAGE, "a hole");
	return pass();
}
