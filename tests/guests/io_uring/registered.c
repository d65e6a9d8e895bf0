/* Threads have registered rings, each its own table. */
#include "../io_uring.h"
static struct ring a, b;
static struct latch made, go;
static int put_ring(int fd, unsigned slot)
{
	struct io_uring_rsrc_update update = { .offset = slot, .data = (uint64_t)fd };
	EQ(ring_register(fd, IORING_REGISTER_RING_FDS, &update, 1), 1);
	return (int)update.offset;
}
static int nop(struct ring *r, int slot)
{
	ring_next(r, IORING_OP_NOP, 44);
	return (int)syscall(SYS_io_uring_enter, slot, ring_show(r), 0, IORING_ENTER_REGISTERED_RING, NULL, 0);
}
static void *other(void *unused)
{
	(void)unused;
	put_ring(a.fd, 15);
	latch_open(made);
	latch_wait(go);
	EQ(nop(&a, 15), 1);
	EQ(ring_take(&a, 44), 0);
	ERR(syscall(SYS_io_uring_enter, 3, 0, 0, IORING_ENTER_REGISTERED_RING, NULL, 0), EBADF);
	return NULL;
}
int main(void)
{
	a = ring_new(8, 0);
	b = ring_new(8, IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN);
	ring_wear(&a, 9);
	ring_wear(&b, 9);
	ring_nops(&b, 1, 5);
	put_ring(b.fd, 3);
	put_ring(a.fd, 0);
	put_ring(a.fd, 7);
	made = latch_new();
	go = latch_new();
	pthread_t thread;
	EQ(pthread_create(&thread, NULL, other, NULL), 0);
	latch_wait(made);
	checkpoint();
	EQ(ring_take(&b, 5), 0);
	EQ(nop(&b, 3), 1);
	EQ(ring_take(&b, 44), 0);
	EQ(nop(&a, 0), 1);
	EQ(ring_take(&a, 44), 0);
	EQ(nop(&a, 7), 1);
	EQ(ring_take(&a, 44), 0);
	ERR(syscall(SYS_io_uring_enter, 15, 0, 0, IORING_ENTER_REGISTERED_RING, NULL, 0), EBADF);
	latch_open(go);
	EQ(pthread_join(thread, NULL), 0);
	ring_idle(&a);
	ring_idle(&b);
	return pass();
}
