/* A ring of io_uring, with a kernel thread that polls it. */
#include "../guest.h"
#include <linux/io_uring.h>
int main(void)
{
	struct io_uring_params params = { .flags = IORING_SETUP_SQPOLL, .sq_thread_idle = 10 };
	int fd = syscall(SYS_io_uring_setup, 8, &params);
	if (fd < 0)
		SKIP("io_uring_setup: %s", strerror(errno));
	EQ(fd, 3);
	void *ring = map(params.cq_off.cqes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, IORING_OFF_SQ_RING);
	OK(close(OK(dup(fd))));
	CHECK(munmap(ring, params.cq_off.cqes) == 0);
	checkpoint();
	OK(syscall(SYS_io_uring_enter, fd, 0, 0, IORING_ENTER_SQ_WAKEUP, NULL, 0));
	return pass();
}
