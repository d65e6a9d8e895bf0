/* Two rings write to a file and read it, one of them by another thread, which alone may use it. Some of that is done by
 * threads of the kernel. */
#include "../motion.h"
#include "../io_uring.h"
static void work(struct ring *r, int fd, unsigned *rounds)
{
	char from[64], to[64];
	snprintf(from, sizeof from, "round %u", ++*rounds);
	struct io_uring_sqe *sqe = ring_next(r, IORING_OP_WRITE, 10ULL * *rounds);
	sqe->fd = fd;
	sqe->addr = (uintptr_t)from;
	sqe->len = sizeof from;
	ring_submit(r);
	EQ(ring_take(r, 10ULL * *rounds), sizeof from);
	ring_nops(r, 3, 10ULL * *rounds + 1);
	sqe = ring_next(r, IORING_OP_READ, 10ULL * *rounds + 4);
	sqe->fd = fd;
	sqe->addr = (uintptr_t)to;
	sqe->len = sizeof to;
	ring_submit(r);
	for (unsigned i = 1; i < 4; i++)
		EQ(ring_take(r, 10ULL * *rounds + i), 0);
	EQ(ring_take(r, 10ULL * *rounds + 4), sizeof to);
	STR_EQ(to, from);
	EQ(r->taken, 5 * *rounds);
	ring_idle(r);
}
/* Both threads have opened what they keep. */
static pthread_barrier_t both_ready;

static void *other(void *unused)
{
	(void)unused;
	struct ring r = ring_new(256, IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN);
	int fd = OK(open("other", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
	unsigned rounds = 0;
	pthread_barrier_wait(&both_ready);
	while (moving()) {
		work(&r, fd, &rounds);
		step();
	}
	return NULL;
}
int main(void)
{
	motion_begin();
	struct ring r = ring_new(8, 0);
	int fd = scratch_file();
	unsigned rounds = 0;
	pthread_t thread;
	EQ(pthread_barrier_init(&both_ready, NULL, 2), 0);
	EQ(pthread_create(&thread, NULL, other, NULL), 0);
	pthread_barrier_wait(&both_ready);
	in_motion();
	while (moving()) {
		work(&r, fd, &rounds);
		step();
	}
	EQ(pthread_join(thread, NULL), 0);
	return pass();
}
