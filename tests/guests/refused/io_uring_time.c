/* A time that is far away, in a ring that only its thread fetches from. */
#include "../io_uring.h"
int main(void)
{
	struct ring r = ring_new(8, IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN);
	static struct __kernel_timespec far = { .tv_sec = 10000 };
	struct io_uring_sqe *sqe = ring_next(&r, IORING_OP_TIMEOUT, 5);
	sqe->addr = (uintptr_t)&far;
	sqe->len = 1;
	ring_submit(&r);
	checkpoint();
	sqe = ring_next(&r, IORING_OP_TIMEOUT_REMOVE, 6);
	sqe->addr = 5;
	ring_submit(&r);
	/* In either order. */
	while (*r.cq_tail != 2)
		OK(ring_enter(&r, 0, 2, IORING_ENTER_GETEVENTS));
	return pass();
}
