/* A ring in an epoll set: its completions are an event there. */
#include "../io_uring.h"
#include <sys/epoll.h>
int main(void)
{
	struct ring r = ring_new(8, 0), full = ring_new(8, 0);
	int set = OK(epoll_create1(EPOLL_CLOEXEC));
	struct epoll_event event = { .events = EPOLLIN, .data.u64 = 1 };
	OK(epoll_ctl(set, EPOLL_CTL_ADD, r.fd, &event));
	event.data.u64 = 2;
	OK(epoll_ctl(set, EPOLL_CTL_ADD, full.fd, &event));
	ring_wear(&r, 21);
	ring_wear(&full, 9);
	ring_nops(&full, 1, 5);
	checkpoint();
	EQ(epoll_wait(set, &event, 1, 10000), 1);
	EQ(event.data.u64, 2);
	EQ(ring_take(&full, 5), 0);
	EQ(epoll_wait(set, &event, 1, 0), 0);
	ring_nops(&r, 1, 6);
	EQ(epoll_wait(set, &event, 1, 10000), 1);
	EQ(event.data.u64, 1);
	EQ(ring_take(&r, 6), 0);
	return pass();
}
