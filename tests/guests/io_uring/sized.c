/* A ring with a size of its own for the completions, and taken by a mapping of each part. */
#include "../io_uring.h"
int main(void)
{
	ring_told();
	struct io_uring_params p = { .flags = IORING_SETUP_CQSIZE, .cq_entries = 256 };
	struct ring r = { .sqe = 64, .cqe = 16 };
	r.fd = (int)syscall(SYS_io_uring_setup, 4, &p);
	if (r.fd < 0)
		SKIP("io_uring_setup: %s", strerror(errno));
	r.sq_entries = p.sq_entries;
	r.cq_entries = p.cq_entries;
	ring_map(&r, &p);
	/* As programs did that do not know that one mapping has both. */
	char *apart = map(r.length, PROT_READ, MAP_SHARED, r.fd, IORING_OFF_CQ_RING);
	OK(madvise(r.memory, r.length, MADV_DONTFORK));
	int fd = scratch_file();
	ring_wear(&r, 1000);
	for (unsigned i = 0; i < 50; i++)
		ring_nops(&r, 4, 4 * i);
	checkpoint();
	for (unsigned i = 0; i < 200; i++)
		EQ(ring_take(&r, i), 0);
	ring_works(&r, fd);
	EQ(memcmp(apart, r.memory, 64), 0);
	CHECK(vm_flag(r.memory, "dc"));
	return pass();
}
