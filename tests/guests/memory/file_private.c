/* Private mappings of a file: clean pages are the file's, dirty ones their own. */
#include "../guest.h"
int main(void)
{
	char *block = malloc(8 * PAGE);
	fill(block, 8 * PAGE, 5);
	int fd = OK(open("f", O_CREAT | O_RDWR, 0600));
	EQ(write(fd, block, 8 * PAGE), 8 * PAGE);
	char *p = map(8 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	char *tail = map(4 * PAGE, PROT_READ, MAP_PRIVATE, fd, 4 * PAGE);
	close(fd);
	fill(p + 2 * PAGE, PAGE, 6);
	volatile char touch = p[5 * PAGE];
	(void)touch;
	checkpoint();
	filled(p + 2 * PAGE, PAGE, 6, "the dirty page");
	CHECK(!memcmp(p, block, 2 * PAGE));
	CHECK(!memcmp(p + 3 * PAGE, block + 3 * PAGE, 5 * PAGE));
	CHECK(!memcmp(tail, block + 4 * PAGE, 4 * PAGE));
	/* Clean pages still follow the file, the dirty one does not. */
	fd = OK(open("f", O_RDWR));
	EQ(pwrite(fd, "new", 3, 6 * PAGE), 3);
	EQ(pwrite(fd, "new", 3, 2 * PAGE), 3);
	CHECK(!memcmp(p + 6 * PAGE, "new", 3));
	filled(p + 2 * PAGE, PAGE, 6, "the dirty page");
	CHECK(strstr(maps_line(tail), "/f"));
	return pass();
}
