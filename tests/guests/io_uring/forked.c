/* A ring is shared with a child, which has it mapped too; both use it in turn. One more child has the mapping alone. */
#include "../io_uring.h"
int main(void)
{
	struct ring r = ring_new(8, 0);
	int fd = scratch_file();
	ring_wear(&r, 7);
	struct latch go = latch_new(), done = latch_new(), look = latch_new();
	pid_t child = OK(fork());
	if (!child) {
		latch_wait(go);
		r.tail = *r.sq_tail;
		r.taken = *r.cq_head;
		ring_works(&r, fd);
		latch_open(done);
		return 0;
	}
	pid_t other = OK(fork());
	if (!other) {
		close(r.fd);
		latch_wait(look);
		EQ(*r.cq_tail, 11);
		return 0;
	}
	checkpoint();
	ring_works(&r, fd);
	latch_open(go);
	latch_wait(done);
	latch_open(look);
	EQ(*r.cq_tail, r.taken + 2);
	reap_ok(child);
	reap_ok(other);
	return pass();
}
