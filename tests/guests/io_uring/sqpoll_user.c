/* The thread of a ring acts with the credentials of the program without privilege that made it. */
#include "../io_uring.h"
int main(void)
{
	int fd = scratch_file();
	OK(fchmod(fd, 0666));
	gid_t groups[] = { 7, 4444 };
	OK(syscall(SYS_setgroups, 2, groups));
	OK(syscall(SYS_setresgid, 4321, 4322, 4321));
	OK(syscall(SYS_setresuid, 4321, 4322, 4323));
	OK(prctl(PR_SET_DUMPABLE, 1));
	struct ring r = ring_new(8, IORING_SETUP_SQPOLL);
	ring_works(&r, fd);
	checkpoint();
	char path[64];
	snprintf(path, sizeof path, "fdinfo/%d", r.fd);
	int thread = (int)proc_field(getpid(), path, "SqThread", 10);
	snprintf(path, sizeof path, "task/%d/status", thread);
	EQ(proc_field(getpid(), path, "Uid", 10), 4321);
	EQ(proc_field(getpid(), path, "Gid", 10), 4321);
	EQ(proc_field(getpid(), path, "Groups", 10), 7);
	EQ(proc_field(getpid(), path, "CapEff", 16), 0);
	ring_works(&r, fd);
	struct io_uring_sqe *sqe = ring_next(&r, IORING_OP_OPENAT, 4);
	sqe->fd = AT_FDCWD;
	sqe->addr = (uintptr_t) "/etc/shadow";
	ring_submit(&r);
	EQ(ring_take(&r, 4), -EACCES);
	return pass();
}
