/* A time that is far away, in a ring that only its thread fetches from. */
#include "../io_uring.h"
int main(void)
{
	struct ring r = ring_new(8, IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN);
	static struct __kernel_timespec far = { .tv_sec = 10000 };
	struct io_uring_sqe *sqe = ring_next(&r, IORING_OP_TIMEOUT, 5);
	sqe->addr = (uintptr_t)&far;
	ring_submit(&r);
	checkpoint();
	sqe = ring_next(&r, IORING_OP_TIMEOUT_REMOVE, 6);
	sqe->addr = 5;
	ring_submit(&r);
	EQ(ring_take(&r, 6), 0);
	EQ(ring_take(&r, 5), -ECANCELED);
	return pass();
}
