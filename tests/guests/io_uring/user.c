/* The rings of a program without privilege. */
#include "../io_uring.h"
int main(void)
{
	int fd = scratch_file();
	OK(fchmod(fd, 0666));
	OK(syscall(SYS_setresgid, 4321, 4321, 4321));
	OK(syscall(SYS_setresuid, 4321, 4321, 4321));
	OK(prctl(PR_SET_DUMPABLE, 1));
	struct ring r = ring_new(8, 0), d = ring_new(8, IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN);
	static char area[8192];
	struct iovec buffer = { area, sizeof area };
	OK(ring_register(d.fd, IORING_REGISTER_BUFFERS, &buffer, 1));
	OK(ring_register(d.fd, IORING_REGISTER_FILES, &fd, 1));
	ring_works(&r, fd);
	ring_wear(&d, 13);
	checkpoint();
	ring_works(&r, fd);
	ring_works(&d, fd);
	struct io_uring_sqe *sqe = ring_next(&d, IORING_OP_READ_FIXED, 3);
	sqe->flags = IOSQE_FIXED_FILE;
	sqe->addr = (uintptr_t)area;
	sqe->len = 64;
	ring_submit(&d);
	EQ(ring_take(&d, 3), 64);
	/* What it may not do, its rings may not do either. */
	sqe = ring_next(&r, IORING_OP_OPENAT, 4);
	sqe->fd = AT_FDCWD;
	sqe->addr = (uintptr_t) "/etc/shadow";
	ring_submit(&r);
	EQ(ring_take(&r, 4), -EACCES);
	return pass();
}
