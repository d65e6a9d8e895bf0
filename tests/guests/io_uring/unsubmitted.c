/* Requests are written, and shown to the kernel, but not submitted yet. */
#include "../io_uring.h"
int main(void)
{
	struct ring r = ring_new(8, 0);
	int fd = scratch_file();
	ring_wear(&r, 13);
	for (unsigned i = 1; i <= 4; i++)
		ring_next(&r, IORING_OP_NOP, i);
	struct io_uring_sqe *sqe = ring_next(&r, IORING_OP_WRITE, 5);
	sqe->fd = fd;
	sqe->addr = (uintptr_t) "later";
	sqe->len = 5;
	EQ(ring_show(&r), 5);
	/* And one that is only written. */
	ring_next(&r, IORING_OP_NOP, 6);
	checkpoint();
	EQ(*r.sq_tail - *r.sq_head, 5);
	EQ(ring_enter(&r, 5, 0, 0), 5);
	for (unsigned i = 1; i <= 4; i++)
		EQ(ring_take(&r, i), 0);
	EQ(ring_take(&r, 5), 5);
	ring_submit(&r);
	EQ(ring_take(&r, 6), 0);
	char text[8] = "";
	EQ(pread(fd, text, 8, 0), 5);
	STR_EQ(text, "later");
	ring_idle(&r);
	return pass();
}
