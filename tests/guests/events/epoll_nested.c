/* epoll in epoll, and a child blocked in epoll_wait of a set shared with its parent. */
#include "../guest.h"
#include <sys/epoll.h>
#include <sys/eventfd.h>
int main(void)
{
	int outer = OK(epoll_create1(0)), inner = OK(epoll_create1(0)), ev = OK(eventfd(0, 0)), stop = OK(eventfd(0, 0));
	struct epoll_event x = { EPOLLIN, { .u64 = 1 } }, got[4];
	OK(epoll_ctl(inner, EPOLL_CTL_ADD, ev, &x));
	x.data.u64 = 2;
	OK(epoll_ctl(outer, EPOLL_CTL_ADD, inner, &x));
	int shared = OK(epoll_create1(0));
	x.data.u64 = 3;
	OK(epoll_ctl(shared, EPOLL_CTL_ADD, stop, &x));
	pid_t kid = OK(fork());
	if (!kid) {
		struct epoll_event g;
		int n;
		while ((n = epoll_wait(shared, &g, 1, -1)) < 0)
			if (errno != EINTR)
				FAIL("epoll_wait: %s", strerror(errno));
		EQ(n, 1);
		EQ(g.data.u64, 3);
		_exit(0);
	}
	checkpoint();
	EQ(epoll_wait(outer, got, 4, 0), 0);
	EQ(write(ev, (uint64_t[]){ 1 }, 8), 8);
	EQ(epoll_wait(outer, got, 4, 1000), 1);
	EQ(got[0].data.u64, 2);
	EQ(epoll_wait(inner, got, 4, 0), 1);
	EQ(got[0].data.u64, 1);
	EQ(write(stop, (uint64_t[]){ 1 }, 8), 8);
	reap_ok(kid);
	return pass();
}
