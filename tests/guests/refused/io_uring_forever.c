/* A request waits for a pipe that nobody writes to. */
#include "../io_uring.h"
int main(void)
{
	struct ring r = ring_new(8, 0);
	static char byte;
	int pair[2];
	OK(pipe2(pair, O_CLOEXEC));
	ring_wear(&r, 5);
	struct io_uring_sqe *sqe = ring_next(&r, IORING_OP_READ, 5);
	sqe->fd = pair[0];
	sqe->addr = (uintptr_t)&byte;
	sqe->len = 1;
	ring_submit(&r);
	checkpoint();
	EQ(*r.cq_tail, r.taken);
	EQ(write(pair[1], "x", 1), 1);
	EQ(ring_take(&r, 5), 1);
	EQ(byte, 'x');
	ring_wear(&r, 50);
	return pass();
}
