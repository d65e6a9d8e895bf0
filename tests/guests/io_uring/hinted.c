/* A small ring without indices that was never used: an option says how long its requests are. */
#include "../io_uring.h"
int main(void)
{
	struct ring r = ring_new(8, IORING_SETUP_NO_SQARRAY | IORING_SETUP_SQE128);
	int fd = scratch_file();
	checkpoint();
	ring_idle(&r);
	ring_works(&r, fd);
	ring_wear(&r, 20);
	return pass();
}
