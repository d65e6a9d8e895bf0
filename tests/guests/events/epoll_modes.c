/* Edge-triggered, one-shot (armed and used up), exclusive and wake-up entries. */
#include "../guest.h"
#include <sys/epoll.h>
int main(void)
{
	int e = OK(epoll_create1(0)), p[4][2];
	struct epoll_event got[8];
	static const uint32_t modes[4] = { EPOLLIN | EPOLLET, EPOLLIN | EPOLLONESHOT, EPOLLIN | EPOLLONESHOT, EPOLLIN | EPOLLEXCLUSIVE };
	for (int i = 0; i < 4; i++) {
		struct epoll_event x = { modes[i], { .u32 = i } };
		OK(pipe(p[i]));
		OK(epoll_ctl(e, EPOLL_CTL_ADD, p[i][0], &x));
	}
	EQ(write(p[2][1], "x", 1), 1);
	EQ(epoll_wait(e, got, 8, 0), 1); /* uses the one shot of 2 up */
	checkpoint();
	EQ(epoll_wait(e, got, 8, 0), 0);
	for (int i = 0; i < 4; i++)
		EQ(write(p[i][1], "y", 1), 1);
	unsigned seen = 0;
	int n = epoll_wait(e, got, 8, 1000);
	for (int i = 0; i < n; i++)
		seen |= 1U << got[i].data.u32;
	EQ(seen, 1 | 2 | 8); /* 2 is used up */
	seen = 0;
	n = epoll_wait(e, got, 8, 0);
	for (int i = 0; i < n; i++)
		seen |= 1U << got[i].data.u32;
	EQ(seen, 8); /* the level-triggered one alone */
	EQ(write(p[0][1], "z", 1), 1);
	n = epoll_wait(e, got, 8, 1000);
	seen = 0;
	for (int i = 0; i < n; i++)
		seen |= 1U << got[i].data.u32;
	EQ(seen, 1 | 8);
	struct epoll_event x = { EPOLLIN | EPOLLONESHOT, { .u32 = 20 } };
	OK(epoll_ctl(e, EPOLL_CTL_MOD, p[2][0], &x));
	n = epoll_wait(e, got, 8, 1000);
	seen = 0;
	for (int i = 0; i < n; i++)
		seen |= 1U << got[i].data.u32;
	CHECK(seen & 1U << 20);
	return pass();
}
