/* Buffers are provided, in a ring that another thread than the leading one uses. */
#include "../io_uring.h"
static struct latch made, go;
static void *issuer(void *unused)
{
	(void)unused;
	struct ring r = ring_new(8, IORING_SETUP_SINGLE_ISSUER);
	static char area[64];
	struct io_uring_sqe *sqe = ring_next(&r, IORING_OP_PROVIDE_BUFFERS, 5);
	sqe->fd = 1;
	sqe->addr = (uintptr_t)area;
	sqe->len = sizeof area;
	sqe->buf_group = 40000;
	ring_submit(&r);
	EQ(ring_take(&r, 5), 0);
	latch_open(made);
	latch_wait(go);
	ring_wear(&r, 9);
	return NULL;
}
int main(void)
{
	pthread_t thread;
	made = latch_new();
	go = latch_new();
	EQ(pthread_create(&thread, NULL, issuer, NULL), 0);
	latch_wait(made);
	checkpoint();
	latch_open(go);
	EQ(pthread_join(thread, NULL), 0);
	return pass();
}
