/* A ring that was never used. */
#include "../io_uring.h"
int main(void)
{
	struct ring r = ring_new(32, 0);
	int fd = scratch_file();
	checkpoint();
	ring_idle(&r);
	ring_works(&r, fd);
	return pass();
}
