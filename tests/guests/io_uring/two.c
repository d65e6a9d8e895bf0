/* Two rings, one of them at two descriptors, the other closed by name but for a copy. */
#include "../io_uring.h"
int main(void)
{
	struct ring a = ring_new(8, 0), b = ring_new(16, IORING_SETUP_CQE32);
	int fd = scratch_file();
	ring_wear(&a, 3);
	ring_wear(&b, 40);
	int copy = OK(dup(a.fd)), far = OK(fcntl(b.fd, F_DUPFD_CLOEXEC, 200));
	close(b.fd);
	b.fd = far;
	OK(fcntl(a.fd, F_SETFL, O_NONBLOCK));
	checkpoint();
	CHECK(same_description(a.fd, copy));
	CHECK(!(fcntl(copy, F_GETFD) & FD_CLOEXEC));
	CHECK(fcntl(a.fd, F_GETFD) & FD_CLOEXEC);
	CHECK(fcntl(copy, F_GETFL) & O_NONBLOCK);
	ring_works(&a, fd);
	a.fd = copy;
	ring_works(&a, fd);
	ring_works(&b, fd);
	return pass();
}
