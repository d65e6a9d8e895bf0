/* Shared mappings of a file: what is written is in the file, and the other way round; one is read-only. */
#include "../guest.h"
int main(void)
{
	int fd = OK(open("f", O_CREAT | O_RDWR, 0600));
	OK(ftruncate(fd, 8 * PAGE));
	char *p = map(4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 2 * PAGE);
	fill(p, PAGE, 1);
	int ro = OK(open("f", O_RDONLY));
	char *r = map(8 * PAGE, PROT_READ, MAP_SHARED, ro, 0);
	close(ro);
	close(fd);
	checkpoint();
	filled(p, PAGE, 1, "the shared mapping");
	filled(r + 2 * PAGE, PAGE, 1, "the read-only one");
	fill(p + PAGE, PAGE, 2);
	filled(r + 3 * PAGE, PAGE, 2, "the read-only one");
	char *block = malloc(PAGE);
	fd = OK(open("f", O_RDWR));
	EQ(pread(fd, block, PAGE, 3 * PAGE), PAGE);
	filled(block, PAGE, 2, "the file");
	ERR(mprotect(r, PAGE, PROT_READ | PROT_WRITE), EACCES);
	return pass();
}
