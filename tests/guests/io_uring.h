/* Rings of io_uring by plain system calls. A ring keeps its positions, as liburing does, in the program's memory too. */
#ifndef GUEST_IO_URING_H
#define GUEST_IO_URING_H
#include "guest.h"
#include <linux/io_uring.h>
#include <linux/time_types.h>
#include <pthread.h>
#include <sys/eventfd.h>

#ifndef IORING_SETUP_NO_SQARRAY
#define IORING_SETUP_NO_SQARRAY (1U << 16)
#endif
#ifndef IORING_OFF_SQ_RING
#error "linux/io_uring.h is too old"
#endif

struct ring {
	int fd;
	unsigned flags, sq_entries, cq_entries;
	size_t sqe, cqe; /* bytes of a request and of a completion */
	char *memory, *requests;
	size_t length;
	unsigned *sq_head, *sq_tail, *sq_flags, *array, *cq_head, *cq_tail;
	char *cqes;
	unsigned tail, taken; /* of the requests, and of the completions, as the program counts them */
};

static inline int ring_register(int fd, unsigned op, void *arg, unsigned count)
{
	return (int)syscall(SYS_io_uring_register, fd, op, arg, count);
}

static inline int ring_enter(struct ring *r, unsigned submit, unsigned complete, unsigned flags)
{
	return (int)syscall(SYS_io_uring_enter, r->fd, submit, complete, flags, NULL, 0);
}

static inline void ring_map(struct ring *r, struct io_uring_params *p)
{
	size_t cqes = p->cq_off.cqes + p->cq_entries * r->cqe, array = p->sq_off.array + p->sq_entries * 4;
	r->length = cqes > array ? cqes : array;
	r->memory = map(r->length, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, r->fd, IORING_OFF_SQ_RING);
	r->requests = map(p->sq_entries * r->sqe, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, r->fd,
			  IORING_OFF_SQES);
	r->sq_head = (void *)(r->memory + p->sq_off.head);
	r->sq_tail = (void *)(r->memory + p->sq_off.tail);
	r->sq_flags = (void *)(r->memory + p->sq_off.flags);
	r->array = (void *)(r->memory + p->sq_off.array);
	r->cq_head = (void *)(r->memory + p->cq_off.head);
	r->cq_tail = (void *)(r->memory + p->cq_off.tail);
	r->cqes = r->memory + p->cq_off.cqes;
	if (!(r->flags & IORING_SETUP_NO_SQARRAY))
		for (unsigned i = 0; i < r->sq_entries; i++)
			r->array[i] = i;
}

/* The kernel tells how a ring was made (Linux 6.13): it knows IORING_REGISTER_NAPI, and misses its argument. */
static inline void ring_told(void)
{
	struct io_uring_params p = {};
	int fd = (int)syscall(SYS_io_uring_setup, 1, &p);
	if (fd < 0)
		SKIP("io_uring_setup: %s", strerror(errno));
	if (ring_register(fd, 27, (void *)8, 1) < 0 && errno == EINVAL)
		SKIP("the kernel does not tell how a ring was made");
	close(fd);
}

/* A ring, or the guest is skipped where the kernel does not have such. */
static inline struct ring ring_new(unsigned entries, unsigned flags)
{
	ring_told();
	struct io_uring_params p = { .flags = flags, .sq_thread_idle = 50 };
	struct ring r = { .flags = flags };
	r.fd = (int)syscall(SYS_io_uring_setup, entries, &p);
	if (r.fd < 0)
		SKIP("io_uring_setup with flags %#x: %s", flags, strerror(errno));
	r.sq_entries = p.sq_entries;
	r.cq_entries = p.cq_entries;
	r.sqe = flags & IORING_SETUP_SQE128 ? 128 : 64;
	r.cqe = flags & IORING_SETUP_CQE32 ? 32 : 16;
	ring_map(&r, &p);
	return r;
}

/* The next request, not submitted yet. */
static inline struct io_uring_sqe *ring_next(struct ring *r, int op, uint64_t mark)
{
	CHECK(r->tail - __atomic_load_n(r->sq_head, __ATOMIC_ACQUIRE) < r->sq_entries);
	struct io_uring_sqe *sqe = (void *)(r->requests + (r->tail++ & (r->sq_entries - 1)) * r->sqe);
	memset(sqe, 0, r->sqe);
	sqe->opcode = (uint8_t)op;
	sqe->user_data = mark;
	return sqe;
}

/* Shows the requests to the kernel, without a call. */
static inline unsigned ring_show(struct ring *r)
{
	unsigned fresh = r->tail - *r->sq_tail;
	__atomic_store_n(r->sq_tail, r->tail, __ATOMIC_RELEASE);
	return fresh;
}

static inline void ring_submit(struct ring *r)
{
	unsigned fresh = ring_show(r);
	if (!(r->flags & IORING_SETUP_SQPOLL)) {
		EQ(ring_enter(r, fresh, 0, 0), fresh);
		return;
	}
	while (__atomic_load_n(r->sq_head, __ATOMIC_ACQUIRE) != r->tail)
		OK(ring_enter(r, 0, 0, IORING_ENTER_SQ_WAKEUP));
}

/* Waits for the next completion, and takes it: its mark must be that; its result. */
static inline int ring_take(struct ring *r, uint64_t mark)
{
	/* A dump may interrupt it, as a signal would. */
	while (__atomic_load_n(r->cq_tail, __ATOMIC_ACQUIRE) == r->taken)
		if (ring_enter(r, 0, 1, IORING_ENTER_GETEVENTS) < 0 && errno != EINTR)
			FAIL("io_uring_enter: %s", strerror(errno));
	struct io_uring_cqe *cqe = (void *)(r->cqes + (r->taken & (r->cq_entries - 1)) * r->cqe);
	EQ(cqe->user_data, mark);
	int result = cqe->res;
	__atomic_store_n(r->cq_head, ++r->taken, __ATOMIC_RELEASE);
	return result;
}

static inline void ring_nops(struct ring *r, unsigned count, uint64_t mark)
{
	for (unsigned i = 0; i < count; i++)
		ring_next(r, IORING_OP_NOP, mark + i);
	ring_submit(r);
}

/* Writes and reads a file by the ring. */
static inline void ring_works(struct ring *r, int fd)
{
	static char from[64], to[64];
	snprintf(from, sizeof from, "number %u", r->tail);
	struct io_uring_sqe *sqe = ring_next(r, IORING_OP_WRITE, 0xabc);
	sqe->fd = fd;
	sqe->addr = (uintptr_t)from;
	sqe->len = sizeof from;
	ring_submit(r);
	EQ(ring_take(r, 0xabc), sizeof from);
	memset(to, 0, sizeof to);
	sqe = ring_next(r, IORING_OP_READ, 0xdef);
	sqe->fd = fd;
	sqe->addr = (uintptr_t)to;
	sqe->len = sizeof to;
	ring_submit(r);
	EQ(ring_take(r, 0xdef), sizeof to);
	STR_EQ(to, from);
}

/* Nothing is left in it, and it stands where the program believes. */
static inline void ring_idle(struct ring *r)
{
	EQ(*r->sq_head, r->tail);
	EQ(*r->sq_tail, r->tail);
	EQ(*r->cq_head, r->taken);
	EQ(*r->cq_tail, r->taken);
}

/* So many requests in all, so that the positions are far along. */
static inline void ring_wear(struct ring *r, unsigned count)
{
	for (unsigned done = 0; done < count;) {
		unsigned now = count - done < r->sq_entries ? count - done : r->sq_entries;
		ring_nops(r, now, done);
		for (unsigned i = 0; i < now; i++)
			EQ(ring_take(r, done + i), 0);
		done += now;
	}
}

static inline int scratch_file(void)
{
	return (int)OK(open("scratch", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
}
/* A ring made with these flags works before the checkpoint, keeps what it has then, and works on after it. */
static inline int ring_goes_on(unsigned entries, unsigned flags)
{
	struct ring r = ring_new(entries, flags);
	int fd = scratch_file();
	ring_wear(&r, 21);
	ring_works(&r, fd);
	ring_nops(&r, 2, 500);
	checkpoint();
	EQ(ring_take(&r, 500), 0);
	EQ(ring_take(&r, 501), 0);
	ring_idle(&r);
	ring_works(&r, fd);
	ring_wear(&r, 40);
	return pass();
}
#endif
