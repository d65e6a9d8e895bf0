/* The positions are far along, not at the begin of the ring. */
#include "../io_uring.h"
int main(void)
{
	struct ring r = ring_new(64, 0);
	int fd = scratch_file();
	ring_wear(&r, 100003);
	checkpoint();
	ring_idle(&r);
	ring_wear(&r, 1000);
	ring_works(&r, fd);
	return pass();
}
