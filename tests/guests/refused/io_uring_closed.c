/* A ring is mapped, and nobody has a descriptor of it. */
#include "../io_uring.h"
int main(void)
{
	struct ring r = ring_new(8, 0);
	ring_wear(&r, 3);
	close(r.fd);
	checkpoint();
	EQ(*r.cq_tail, 3);
	return pass();
}
