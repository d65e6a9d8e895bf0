/* A request was done with credentials that are registered. */
#include "../io_uring.h"
int main(void)
{
	struct ring r = ring_new(8, 0);
	int id = OK(ring_register(r.fd, IORING_REGISTER_PERSONALITY, NULL, 0));
	ring_next(&r, IORING_OP_NOP, 5)->personality = (uint16_t)id;
	ring_submit(&r);
	EQ(ring_take(&r, 5), 0);
	checkpoint();
	ring_next(&r, IORING_OP_NOP, 6)->personality = (uint16_t)id;
	ring_submit(&r);
	EQ(ring_take(&r, 6), 0);
	return pass();
}
