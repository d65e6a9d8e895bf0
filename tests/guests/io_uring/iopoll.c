/* A ring that polls for its completions. */
#include "../io_uring.h"
int main(void)
{
	struct ring r = ring_new(8, IORING_SETUP_IOPOLL);
	ring_wear(&r, 21);
	ring_nops(&r, 2, 500);
	int fd = scratch_file();
	checkpoint();
	EQ(ring_take(&r, 500), 0);
	EQ(ring_take(&r, 501), 0);
	ring_idle(&r);
	ring_wear(&r, 40);
	/* What cannot be polled is not done. */
	static char byte;
	struct io_uring_sqe *sqe = ring_next(&r, IORING_OP_RECV, 7);
	sqe->fd = fd;
	sqe->addr = (uintptr_t)&byte;
	sqe->len = 1;
	ring_submit(&r);
	EQ(ring_take(&r, 7), -EINVAL);
	return pass();
}
