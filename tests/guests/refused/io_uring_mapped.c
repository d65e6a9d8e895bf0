/* A mapped ring whose descriptor is closed. */
#include "../guest.h"
#include <linux/io_uring.h>
int main(void)
{
	struct io_uring_params params = {};
	int fd = syscall(SYS_io_uring_setup, 8, &params);
	if (fd < 0)
		SKIP("io_uring_setup: %s", strerror(errno));
	unsigned *ring = map(params.cq_off.cqes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, IORING_OFF_SQ_RING);
	OK(close(fd));
	checkpoint();
	EQ(ring[params.sq_off.ring_entries / 4], 8);
	return pass();
}
