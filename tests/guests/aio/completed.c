/* Completed events that were not taken yet, after the ring has gone round once. */
#include "../aio.h"
int main(void)
{
	aio_context_t c = aio_new(8);
	struct aio_ring *ring = (void *)c;
	struct io_event e[200];
	int fd = OK(open("f", O_CREAT | O_RDWR, 0600));
	unsigned n = ring->nr + ring->nr / 2;
	for (unsigned i = 0; i < n; i++) {
		aio_pwrite(c, fd, "x", 1, i, i);
		EQ(aio_get(c, e, 1, 1), 1);
	}
	for (int i = 0; i < 5; i++)
		aio_pwrite(c, fd, "yyyy", i, 0, 1000 + i);
	unsigned head = ring->head, tail = ring->tail;
	CHECK(head != tail);
	checkpoint();
	EQ(ring->head, head);
	EQ(ring->tail, tail);
	EQ(aio_get(c, e, 5, 200), 5);
	for (int i = 0; i < 5; i++) {
		EQ(e[i].data, 1000 + i);
		EQ(e[i].res, i);
	}
	for (unsigned i = 0; i < n; i++) {
		aio_pwrite(c, fd, "z", 1, i, i);
		EQ(aio_get(c, e, 1, 1), 1);
		EQ(e[0].data, i);
	}
	return pass();
}
