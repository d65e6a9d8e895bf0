/* An entry whose number was closed, or taken by something else, while a duplicate keeps the description alive. */
#include "../guest.h"
#include <sys/epoll.h>
int main(void)
{
	int e = OK(epoll_create1(0)), p[2], q[2];
	struct epoll_event x = { EPOLLIN, { .u64 = 77 } }, got[4];
	OK(pipe(p));
	OK(pipe(q));
	OK(epoll_ctl(e, EPOLL_CTL_ADD, p[0], &x));
	int keep = OK(dup(p[0]));
	close(p[0]);
	OK(dup2(q[0], p[0])); /* the old number means another pipe now */
	checkpoint();
	EQ(epoll_wait(e, got, 4, 0), 0);
	EQ(write(q[1], "x", 1), 1);
	EQ(epoll_wait(e, got, 4, 0), 0);
	EQ(write(p[1], "x", 1), 1);
	EQ(epoll_wait(e, got, 4, 1000), 1);
	EQ(got[0].data.u64, 77);
	char c;
	EQ(read(keep, &c, 1), 1);
	return pass();
}
