/* A request was done without a completion. */
#include "../io_uring.h"
int main(void)
{
	struct ring r = ring_new(8, 0);
	ring_next(&r, IORING_OP_NOP, 5)->flags = 1 << 6 /* IOSQE_CQE_SKIP_SUCCESS */;
	ring_submit(&r);
	checkpoint();
	ring_wear(&r, 20);
	return pass();
}
