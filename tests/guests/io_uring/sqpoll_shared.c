/* Two rings share the thread that looks for requests, which is bound to a processor. */
#include "../io_uring.h"
int main(void)
{
	struct ring a = ring_new(8, IORING_SETUP_SQPOLL | IORING_SETUP_SQ_AFF), b = { .flags = IORING_SETUP_SQPOLL };
	struct io_uring_params p = { .flags = IORING_SETUP_SQPOLL | IORING_SETUP_ATTACH_WQ, .wq_fd = (unsigned)a.fd };
	b.fd = (int)OK(syscall(SYS_io_uring_setup, 16, &p));
	b.sq_entries = p.sq_entries;
	b.cq_entries = p.cq_entries;
	b.sqe = 64;
	b.cqe = 16;
	ring_map(&b, &p);
	int fd = scratch_file();
	ring_wear(&a, 9);
	ring_wear(&b, 100);
	char path[64];
	snprintf(path, sizeof path, "fdinfo/%d", b.fd);
	unsigned long long thread = proc_field(getpid(), path, "SqThread", 10);
	snprintf(path, sizeof path, "fdinfo/%d", a.fd);
	EQ(proc_field(getpid(), path, "SqThread", 10), thread);
	checkpoint();
	thread = proc_field(getpid(), path, "SqThread", 10);
	cpu_set_t set;
	OK(sched_getaffinity((pid_t)thread, sizeof set, &set));
	EQ(CPU_COUNT(&set), 1);
	snprintf(path, sizeof path, "fdinfo/%d", b.fd);
	EQ(proc_field(getpid(), path, "SqThread", 10), thread);
	ring_works(&a, fd);
	ring_works(&b, fd);
	ring_idle(&a);
	ring_idle(&b);
	return pass();
}
