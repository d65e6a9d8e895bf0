/* Sets that were there before a fork, after which both sides close, open and add on their own. */
#include "../guest.h"
#include <sys/epoll.h>
#include <sys/eventfd.h>
int main(void)
{
	int e = OK(epoll_create1(0)), keep = OK(eventfd(0, EFD_NONBLOCK)), parents = OK(eventfd(0, EFD_NONBLOCK)),
	    kids = OK(eventfd(0, EFD_NONBLOCK)), bell[2];
	struct epoll_event x = { EPOLLIN, { .u64 = 1 } }, got[8];
	uint64_t one = 1;
	OK(pipe(bell));
	OK(epoll_ctl(e, EPOLL_CTL_ADD, keep, &x));
	x.data.u64 = 2;
	OK(epoll_ctl(e, EPOLL_CTL_ADD, parents, &x));
	x.data.u64 = 4;
	OK(epoll_ctl(e, EPOLL_CTL_ADD, kids, &x));
	struct latch l = latch_new();
	pid_t kid = OK(fork());
	if (!kid) {
		char c;
		close(parents); /* stays in the set by the other process */
		int own = OK(eventfd(0, EFD_NONBLOCK));
		EQ(own, parents);
		x.data.u64 = 8;
		OK(epoll_ctl(e, EPOLL_CTL_ADD, own, &x)); /* the same number, another description */
		latch_open(l);
		EQ(read(bell[0], &c, 1), 1);
		EQ(write(kids, &one, 8), 8);
		EQ(write(own, &one, 8), 8);
		EQ(read(bell[0], &c, 1), 1);
		_exit(0);
	}
	latch_wait(l);
	close(kids);
	checkpoint();
	EQ(epoll_wait(e, got, 8, 0), 0);
	EQ(write(keep, &one, 8), 8);
	EQ(write(parents, &one, 8), 8);
	EQ(write(bell[1], "x", 1), 1);
	unsigned seen = 0;
	while (seen != 15) {
		int n = epoll_wait(e, got, 8, 10000);
		if (n <= 0)
			FAIL("seen so far: %#x", seen);
		seen = 0;
		for (int i = 0; i < n; i++)
			seen |= got[i].data.u64;
	}
	EQ(write(bell[1], "x", 1), 1);
	reap_ok(kid);
	EQ(epoll_wait(e, got, 8, 0), 2); /* what the child alone held is gone */
	return pass();
}
