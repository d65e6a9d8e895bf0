/* Requests are in flight that end within the time that a dump waits: a time, and a fetch that only its thread makes. */
#include "../io_uring.h"
int main(void)
{
	struct ring r = ring_new(8, 0), d = ring_new(8, IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN);
	static struct __kernel_timespec soon = { .tv_sec = 1 };
	struct io_uring_sqe *sqe = ring_next(&r, IORING_OP_TIMEOUT, 5);
	sqe->addr = (uintptr_t)&soon;
	sqe->len = 1;
	ring_submit(&r);
	sqe = ring_next(&d, IORING_OP_TIMEOUT, 6);
	sqe->addr = (uintptr_t)&soon;
	sqe->len = 1;
	ring_submit(&d);
	checkpoint();
	EQ(ring_take(&r, 5), -ETIME);
	EQ(ring_take(&d, 6), -ETIME);
	ring_idle(&r);
	ring_idle(&d);
	return pass();
}
