/* Only some requests are allowed. */
#include "../io_uring.h"
int main(void)
{
	struct ring r = ring_new(8, IORING_SETUP_R_DISABLED);
	struct io_uring_restriction only = { .opcode = IORING_RESTRICTION_SQE_OP, .sqe_op = IORING_OP_NOP };
	OK(ring_register(r.fd, IORING_REGISTER_RESTRICTIONS, &only, 1));
	OK(ring_register(r.fd, IORING_REGISTER_ENABLE_RINGS, NULL, 0));
	checkpoint();
	ring_nops(&r, 1, 5);
	EQ(ring_take(&r, 5), 0);
	ring_next(&r, IORING_OP_CLOSE, 6)->fd = r.fd;
	ring_submit(&r);
	EQ(ring_take(&r, 6), -EACCES);
	return pass();
}
