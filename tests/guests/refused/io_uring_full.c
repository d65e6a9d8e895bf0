/* More completions than there is room for. */
#include "../io_uring.h"
int main(void)
{
	struct ring r = ring_new(4, 0);
	for (unsigned i = 0; i < 4; i++)
		ring_nops(&r, 4, 4 * i);
	CHECK(*r.sq_flags & IORING_SQ_CQ_OVERFLOW);
	checkpoint();
	CHECK(*r.sq_flags & IORING_SQ_CQ_OVERFLOW);
	for (unsigned i = 0; i < 16; i++)
		EQ(ring_take(&r, i), 0);
	return pass();
}
