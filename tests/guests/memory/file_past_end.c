/* A mapping longer than its file: SIGBUS beyond the end, zeros to the end of the last page. */
#include "../guest.h"
#include <setjmp.h>
static sigjmp_buf back;
static void bus(int s) { siglongjmp(back, s); }
int main(void)
{
	int fd = OK(open("f", O_CREAT | O_RDWR, 0600));
	EQ(write(fd, "short", 5), 5);
	volatile char *p = map(4 * PAGE, PROT_READ, MAP_SHARED, fd, 0), *q = map(4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	OK(ftruncate(fd, 3 * PAGE));
	q[2 * PAGE] = 'd'; /* dirty, and then beyond the end */
	OK(ftruncate(fd, 5));
	signal(SIGBUS, bus);
	checkpoint();
	EQ(p[4], 't');
	EQ(p[5], 0);
	for (int i = 1; i < 4; i++)
		if (!sigsetjmp(back, 1)) {
			char c = p[i * PAGE];
			FAIL("page %d beyond the end reads as %d", i, c);
		}
	if (!sigsetjmp(back, 1)) {
		char c = q[3 * PAGE];
		FAIL("a page beyond the end reads as %d", c);
	}
	return pass();
}
