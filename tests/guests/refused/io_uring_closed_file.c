/* A registered file is behind no descriptor any more. */
#include "../io_uring.h"
int main(void)
{
	struct ring r = ring_new(8, 0);
	int fds[] = { scratch_file(), -1 };
	OK(ring_register(r.fd, IORING_REGISTER_FILES, fds, 2));
	EQ(write(fds[0], "text", 4), 4);
	close(fds[0]);
	checkpoint();
	static char text[8];
	struct io_uring_sqe *sqe = ring_next(&r, IORING_OP_READ, 5);
	sqe->flags = IOSQE_FIXED_FILE;
	sqe->addr = (uintptr_t)text;
	sqe->len = 4;
	ring_submit(&r);
	EQ(ring_take(&r, 5), 4);
	STR_EQ(text, "text");
	return pass();
}
