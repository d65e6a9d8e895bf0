/* Buffers are registered, one of them empty. */
#include "../io_uring.h"
int main(void)
{
	struct ring r = ring_new(8, IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN);
	int fd = scratch_file();
	char *area = map(1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct iovec buffers[] = { { area + 100, 5000 }, { NULL, 0 }, { area + (1 << 16), 1 << 19 } };
	OK(ring_register(r.fd, IORING_REGISTER_BUFFERS, buffers, 3));
	fill(area + (1 << 16), 1 << 19, 77);
	checkpoint();
	filled(area + (1 << 16), 1 << 19, 77, "the buffer");
	struct io_uring_sqe *sqe = ring_next(&r, IORING_OP_WRITE_FIXED, 1);
	sqe->fd = fd;
	sqe->buf_index = 2;
	sqe->addr = (uintptr_t)area + (1 << 16) + 4096;
	sqe->len = 4096;
	ring_submit(&r);
	EQ(ring_take(&r, 1), 4096);
	sqe = ring_next(&r, IORING_OP_READ_FIXED, 2);
	sqe->fd = fd;
	sqe->addr = (uintptr_t)area + 200;
	sqe->len = 4096;
	ring_submit(&r);
	EQ(ring_take(&r, 2), 4096);
	EQ(memcmp(area + 200, area + (1 << 16) + 4096, 4096), 0);
	sqe = ring_next(&r, IORING_OP_READ_FIXED, 3);
	sqe->fd = fd;
	sqe->buf_index = 1;
	sqe->addr = (uintptr_t)area;
	sqe->len = 16;
	ring_submit(&r);
	EQ(ring_take(&r, 3), -EFAULT);
	return pass();
}
