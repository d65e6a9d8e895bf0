/* A memfd of 32 MiB that no process maps. */
#include "../guest.h"
#define SIZE (32UL << 20)
int main(void)
{
	char *block = malloc(SIZE);
	fill(block, SIZE, 6);
	int fd = OK(memfd_create("large", 0));
	EQ(write(fd, block, SIZE), SIZE);
	free(block);
	checkpoint();
	EQ(lseek(fd, 0, SEEK_CUR), SIZE);
	char *p = map(SIZE, PROT_READ, MAP_SHARED, fd, 0);
	filled(p, SIZE, 6, "the memfd");
	return pass();
}
