/* Completions of 32 bytes. */
#include "../io_uring.h"
int main(void)
{
	struct ring r = ring_new(8, IORING_SETUP_CQE32);
	int fd = scratch_file();
	ring_wear(&r, 21);
	ring_works(&r, fd);
	ring_nops(&r, 2, 500);
	checkpoint();
	EQ(ring_take(&r, 500), 0);
	EQ(ring_take(&r, 501), 0);
	ring_idle(&r);
	ring_works(&r, fd);
	ring_wear(&r, 40);
	return pass();
}
