/* An eventfd is told of completions. */
#include "../io_uring.h"
int main(void)
{
	struct ring r = ring_new(8, 0);
	int fd = OK(eventfd(0, EFD_NONBLOCK));
	OK(ring_register(r.fd, IORING_REGISTER_EVENTFD, &fd, 1));
	checkpoint();
	uint64_t count;
	ERR(read(fd, &count, 8), EAGAIN);
	ring_nops(&r, 1, 5);
	EQ(read(fd, &count, 8), 8);
	EQ(ring_take(&r, 5), 0);
	return pass();
}
