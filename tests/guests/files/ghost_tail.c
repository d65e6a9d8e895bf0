/* Deleted files with holes at their end, at their beginning, and nothing but a hole; space beyond the end. */
#include "../files.h"
int main(void)
{
	char *block = malloc(PAGE), *got = malloc(PAGE);
	fill(block, PAGE, 3);
	int end = OK(open("e", O_CREAT | O_RDWR, 0600)), begin = OK(open("b", O_CREAT | O_RDWR, 0600)),
	    hole = OK(open("h", O_CREAT | O_RDWR, 0600)), more = OK(open("m", O_CREAT | O_RDWR, 0600));
	EQ(pwrite(end, block, PAGE, 0), PAGE);
	OK(ftruncate(end, (1LL << 32) + 12345));
	EQ(pwrite(begin, block, 100, (5LL << 30) + 77), 100);
	OK(ftruncate(hole, 1LL << 40));
	EQ(write(more, block, PAGE), PAGE);
	if (fallocate(more, FALLOC_FL_KEEP_SIZE, 0, 1 << 20))
		CHECK(errno == EOPNOTSUPP);
	OK(unlink("e")), OK(unlink("b")), OK(unlink("h")), OK(unlink("m"));
	EQ(lseek(hole, 1LL << 41, SEEK_SET), 1LL << 41);
	checkpoint();
	EQ(stat_of(end).st_size, (1LL << 32) + 12345);
	EQ(stat_of(begin).st_size, (5LL << 30) + 177);
	EQ(stat_of(hole).st_size, 1LL << 40);
	EQ(stat_of(more).st_size, PAGE);
	EQ(pread(end, got, PAGE, 0), PAGE);
	filled(got, PAGE, 3, "data before a hole");
	EQ(pread(begin, got, PAGE, (5LL << 30) + 77), 100);
	CHECK(!memcmp(got, block, 100));
	EQ(lseek(hole, 0, SEEK_CUR), 1LL << 41);
	EQ(stat_of(hole).st_blocks, 0);
	CHECK(stat_of(begin).st_blocks < 1000);
	EQ(lseek(hole, 0, SEEK_HOLE), 0);
	return pass();
}
