/* Requests are in flight that end within the time that a dump waits: times, in rings whose completions come by any
 * thread, by one alone, and by a thread of the kernel; and what a thread of the kernel does. */
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
	struct ring s = ring_new(8, IORING_SETUP_SQPOLL);
	sqe = ring_next(&s, IORING_OP_TIMEOUT, 7);
	sqe->addr = (uintptr_t)&soon;
	sqe->len = 1;
	ring_submit(&s);
	struct ring w = ring_new(8, 0);
	int fd = scratch_file();
	for (unsigned i = 0; i < 8; i++) {
		sqe = ring_next(&w, IORING_OP_FSYNC, 8);
		sqe->flags = IOSQE_ASYNC;
		sqe->fd = fd;
	}
	ring_submit(&w);
	checkpoint();
	EQ(ring_take(&r, 5), -ETIME);
	EQ(ring_take(&d, 6), -ETIME);
	ring_idle(&r);
	ring_idle(&d);
	EQ(ring_take(&s, 7), -ETIME);
	ring_idle(&s);
	for (unsigned i = 0; i < 8; i++)
		EQ(ring_take(&w, 8), 0);
	ring_idle(&w);
	return pass();
}
