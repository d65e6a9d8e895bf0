/* epoll: the watched descriptors with their events and data; one that is duplicated; one watched twice. */
#include "../guest.h"
#include <sys/epoll.h>
#include <sys/eventfd.h>
int main(void)
{
	int e = OK(epoll_create1(EPOLL_CLOEXEC)), p[2], q[2], ev = OK(eventfd(0, 0));
	OK(pipe(p));
	OK(pipe(q));
	int twin = OK(dup(p[0]));
	struct epoll_event x = { EPOLLIN, { .u64 = 0x1122334455667788 } }, got[8];
	OK(epoll_ctl(e, EPOLL_CTL_ADD, p[0], &x));
	x.data.u64 = 2;
	x.events = EPOLLIN | EPOLLRDHUP | EPOLLPRI;
	OK(epoll_ctl(e, EPOLL_CTL_ADD, twin, &x));
	x.data.u64 = 3;
	x.events = EPOLLOUT;
	OK(epoll_ctl(e, EPOLL_CTL_ADD, q[1], &x));
	x.data.u64 = 4;
	x.events = 0;
	OK(epoll_ctl(e, EPOLL_CTL_ADD, ev, &x));
	checkpoint();
	EQ(epoll_wait(e, got, 8, 0), 1);
	EQ(got[0].data.u64, 3);
	EQ(got[0].events, EPOLLOUT);
	EQ(write(p[1], "x", 1), 1);
	EQ(epoll_wait(e, got, 8, 1000), 3);
	bool one = false, two = false;
	for (int i = 0; i < 3; i++) {
		one |= got[i].data.u64 == 0x1122334455667788 && got[i].events == EPOLLIN;
		two |= got[i].data.u64 == 2 && got[i].events == EPOLLIN;
	}
	CHECK(one && two);
	ERR(epoll_ctl(e, EPOLL_CTL_ADD, ev, &x), EEXIST);
	x.events = EPOLLIN;
	OK(epoll_ctl(e, EPOLL_CTL_MOD, ev, &x));
	OK(epoll_ctl(e, EPOLL_CTL_DEL, p[0], NULL));
	OK(epoll_ctl(e, EPOLL_CTL_DEL, twin, NULL));
	OK(epoll_ctl(e, EPOLL_CTL_DEL, q[1], NULL));
	EQ(epoll_wait(e, got, 8, 0), 0);
	EQ(write(ev, (uint64_t[]){ 1 }, 8), 8);
	EQ(epoll_wait(e, got, 8, 1000), 1);
	EQ(got[0].data.u64, 4);
	return pass();
}
