/* A ring that has yet to be enabled, and one with restrictions still to come. */
#include "../io_uring.h"
int main(void)
{
	struct ring r = ring_new(8, IORING_SETUP_R_DISABLED);
	struct ring d = ring_new(8, IORING_SETUP_R_DISABLED | IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN);
	int fd = scratch_file();
	ring_next(&r, IORING_OP_NOP, 3);
	EQ(ring_show(&r), 1);
	checkpoint();
	ERR(ring_enter(&r, 1, 0, 0), EBADFD);
	ERR(ring_enter(&d, 1, 0, 0), EBADFD);
	OK(ring_register(r.fd, IORING_REGISTER_ENABLE_RINGS, NULL, 0));
	OK(ring_register(d.fd, IORING_REGISTER_ENABLE_RINGS, NULL, 0));
	EQ(ring_enter(&r, 1, 0, 0), 1);
	EQ(ring_take(&r, 3), 0);
	ring_works(&r, fd);
	ring_works(&d, fd);
	return pass();
}
