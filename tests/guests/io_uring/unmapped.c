/* A ring that is not mapped for the moment. */
#include "../io_uring.h"
int main(void)
{
	struct ring r = ring_new(8, 0);
	int fd = scratch_file();
	ring_wear(&r, 100);
	OK(munmap(r.memory, r.length));
	OK(munmap(r.requests, r.sq_entries * r.sqe));
	checkpoint();
	struct io_uring_params p = {};
	int other = OK(syscall(SYS_io_uring_setup, 8, &p));
	close(other);
	ring_map(&r, &p);
	ring_idle(&r);
	ring_works(&r, fd);
	return pass();
}
