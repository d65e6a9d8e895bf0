/* A request had two completions: their number says nothing any more. */
#include "../io_uring.h"
int main(void)
{
	struct ring r = ring_new(8, 0);
	int pair[2];
	OK(pipe2(pair, O_CLOEXEC));
	struct io_uring_sqe *sqe = ring_next(&r, IORING_OP_POLL_ADD, 5);
	sqe->fd = pair[0];
	sqe->poll32_events = POLLIN;
	sqe->len = IORING_POLL_ADD_MULTI;
	ring_submit(&r);
	for (int i = 0; i < 2; i++) {
		EQ(write(pair[1], "x", 1), 1);
		EQ(ring_take(&r, 5), POLLIN);
	}
	sqe = ring_next(&r, IORING_OP_POLL_REMOVE, 6);
	sqe->addr = 5;
	ring_submit(&r);
	/* In either order. */
	while (*r.cq_tail != 4)
		OK(ring_enter(&r, 0, 2, IORING_ENTER_GETEVENTS));
	*r.cq_head = r.taken = 4;
	checkpoint();
	ring_wear(&r, 20);
	return pass();
}
