/* A ring in the parent and another in the child: each is its process's own. */
#include "../aio.h"
static void use(aio_context_t c, const char *name)
{
	struct io_event e;
	int fd = OK(open(name, O_CREAT | O_RDWR, 0600));
	aio_pwrite(c, fd, "abc", 3, 0, 5);
	EQ(aio_get(c, &e, 1, 1), 1);
	EQ(e.res, 3);
}
int main(void)
{
	aio_context_t mine = aio_new(16);
	struct latch l = latch_new();
	pid_t kid = OK(fork());
	if (!kid) {
		struct io_event e;
		struct timespec none = { 0, 0 };
		ERR(syscall(SYS_io_getevents, mine, 0, 1, &e, &none), EINVAL);
		/* What is inherited is the ring's memory without the ring; nothing could bring that back. */
		unsigned long a, b;
		EQ(sscanf(maps_line((void *)mine), "%lx-%lx", &a, &b), 2);
		OK(munmap((void *)a, b - a));
		aio_context_t own = aio_new(16);
		latch_open(l);
		wait_go();
		use(own, "child");
		_exit(0);
	}
	latch_wait(l);
	checkpoint();
	use(mine, "parent");
	reap_ok(kid);
	return pass();
}
