/* A thousand eventfds and a thousand sockets in one set. */
#include "../guest.h"
#include <sys/epoll.h>
#include <sys/eventfd.h>
#define N 1000
int main(void)
{
	static int ev[N], s[N / 2][2];
	struct rlimit r = { 4000, 4000 };
	OK(setrlimit(RLIMIT_NOFILE, &r));
	int e = OK(epoll_create1(0));
	for (int i = 0; i < N; i++) {
		struct epoll_event x = { EPOLLIN, { .u64 = i } };
		ev[i] = OK(eventfd(i, EFD_NONBLOCK));
		OK(epoll_ctl(e, EPOLL_CTL_ADD, ev[i], &x));
	}
	for (int i = 0; i < N / 2; i++) {
		struct epoll_event x = { EPOLLIN, { .u64 = N + i } };
		OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s[i]));
		OK(epoll_ctl(e, EPOLL_CTL_ADD, s[i][0], &x));
	}
	checkpoint();
	static struct epoll_event got[2 * N];
	EQ(epoll_wait(e, got, 2 * N, 0), N - 1); /* all counters but that at 0 */
	for (int i = 0; i < N; i++) {
		uint64_t v = 0;
		if (i)
			EQ(read(ev[i], &v, 8), 8);
		EQ(v, i);
	}
	EQ(epoll_wait(e, got, 2 * N, 0), 0);
	EQ(write(s[77][1], "x", 1), 1);
	EQ(epoll_wait(e, got, 2 * N, 1000), 1);
	EQ(got[0].data.u64, N + 77);
	return pass();
}
