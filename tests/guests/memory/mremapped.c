/* Mappings that were moved, grown, shrunk and cut by mremap and munmap. */
#include "../guest.h"
int main(void)
{
	char *p = map(16 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	fill(p, 16 * PAGE, 7);
	char *area = map(64 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *moved = mremap(p + 4 * PAGE, 4 * PAGE, 8 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, area + 16 * PAGE);
	EQ(moved, area + 16 * PAGE);
	fill(moved + 4 * PAGE, 4 * PAGE, 8);
	OK(munmap(p + 14 * PAGE, PAGE));
	char *want = malloc(16 * PAGE);
	fill(want, 16 * PAGE, 7);
	int fd = OK(open("f", O_CREAT | O_RDWR, 0600));
	EQ(write(fd, want, 16 * PAGE), 16 * PAGE);
	char *file = map(8 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 4 * PAGE);
	file[PAGE] = 1;
	file = mremap(file, 8 * PAGE, 12 * PAGE, MREMAP_MAYMOVE);
	CHECK(file != MAP_FAILED);
	checkpoint();
	CHECK(!memcmp(moved, want + 4 * PAGE, 4 * PAGE));
	filled(moved + 4 * PAGE, 4 * PAGE, 8, "the grown part");
	CHECK(!memcmp(p, want, 4 * PAGE));
	CHECK(!memcmp(p + 8 * PAGE, want + 8 * PAGE, 6 * PAGE));
	STR_EQ(maps_line(p + 4 * PAGE), "");
	STR_EQ(maps_line(p + 14 * PAGE), "");
	EQ(file[PAGE], 1);
	CHECK(!memcmp(file + 2 * PAGE, want + 6 * PAGE, 10 * PAGE));
	return pass();
}
