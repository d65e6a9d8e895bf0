/* A ring that was used goes on, with the positions that its program knows. */
#include "../io_uring.h"
int main(void)
{
	struct ring r = ring_new(8, 0);
	int fd = scratch_file();
	for (int i = 0; i < 5; i++)
		ring_works(&r, fd);
	ring_idle(&r);
	checkpoint();
	ring_idle(&r);
	for (int i = 0; i < 50; i++)
		ring_works(&r, fd);
	ring_idle(&r);
	return pass();
}
