/* A set whose targets are held by another process alone: at their number, and at another one. */
#include "../guest.h"
#include <sys/epoll.h>
#include <sys/eventfd.h>
int main(void)
{
	int e = OK(epoll_create1(0)), back[2];
	int ev = OK(eventfd(0, 0)), moved = OK(eventfd(0, 0));
	struct epoll_event x = { EPOLLIN, { .u64 = 1 } }, got[4];
	OK(pipe(back));
	OK(epoll_ctl(e, EPOLL_CTL_ADD, ev, &x));
	x.data.u64 = 2;
	x.events = EPOLLIN | EPOLLET;
	OK(epoll_ctl(e, EPOLL_CTL_ADD, moved, &x));
	struct latch l = latch_new();
	pid_t kid = OK(fork());
	if (!kid) {
		uint64_t one = 1;
		char c;
		OK(dup2(moved, 100));
		close(moved);
		close(e);
		close(back[1]);
		latch_open(l);
		EQ(read(back[0], &c, 1), 1);
		EQ(write(ev, &one, 8), 8);
		EQ(write(100, &one, 8), 8);
		EQ(read(back[0], &c, 1), 0);
		_exit(0);
	}
	latch_wait(l);
	close(ev);
	close(moved);
	OK(dup2(back[1], moved)); /* the number means something else here */
	checkpoint();
	EQ(epoll_wait(e, got, 4, 0), 0);
	EQ(write(back[1], "x", 1), 1);
	unsigned seen = 0;
	while (seen != 3) {
		int n = epoll_wait(e, got, 4, 10000);
		if (n < 1)
			FAIL("epoll_wait gave %d; events seen so far: %#x", n, seen);
		for (int i = 0; i < n; i++)
			seen |= got[i].data.u64;
	}
	struct stat a, b;
	OK(fstat(moved, &a));
	OK(fstat(back[1], &b));
	EQ(a.st_ino, b.st_ino);
	close(moved);
	close(back[1]);
	reap_ok(kid);
	EQ(epoll_wait(e, got, 4, 0), 0); /* gone with their last descriptor */
	return pass();
}
