/* Edges of sockets of the network: a connection may report once more what it had reported, and new ones are never lost. */
#include "../inet.h"
#include <sys/epoll.h>
enum { LISTENER, SERVER, CLIENT, IDLE, UDP, COUNT };
static unsigned events(int e)
{
	struct epoll_event got[COUNT];
	unsigned seen = 0;
	for (int n = OK(epoll_wait(e, got, COUNT, 0)); n--;)
		seen |= 1U << got[n].data.u32;
	return seen;
}
/* What is sent is there when it has been acknowledged, and so on: within ten seconds. */
static void reported(int e, unsigned what)
{
	unsigned seen = 0;
	for (int i = 0; i < 1000 && (seen & what) != what; i++) {
		seen |= events(e);
		usleep(10000);
	}
	EQ(seen & what, what);
}
int main(void)
{
	int fd[COUNT], idle, other, e = OK(epoll_create1(0));
	union addr a;
	fd[LISTENER] = listener(AF_INET, 5);
	tcp_pair(AF_INET, fd[LISTENER], &fd[CLIENT], &fd[SERVER]);
	tcp_pair(AF_INET, fd[LISTENER], &idle, &fd[IDLE]);
	fd[UDP] = bound(AF_INET, SOCK_DGRAM);
	other = bound(AF_INET, SOCK_DGRAM);
	OK(connect(other, &a.sa, loopback(&a, AF_INET, port_of(fd[UDP]))));
	EQ(send(fd[CLIENT], "unread", 6, 0), 6);
	EQ(send(other, "unread", 6, 0), 6);
	for (int i = 0; i < COUNT; i++) {
		struct epoll_event x = { EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, { .u32 = i } };
		OK(epoll_ctl(e, EPOLL_CTL_ADD, fd[i], &x));
	}
	reported(e, 1U << SERVER | 1U << CLIENT | 1U << IDLE | 1U << UDP);
	struct pollfd p[2] = { { fd[SERVER], POLLIN, 0 }, { fd[UDP], POLLIN, 0 } };
	while (poll(p, 2, 1000) < 2)
		;
	while (events(e))
		usleep(10000);
	checkpoint();
	/* What is not ready has nothing to report; of connections, to go on is an event. */
	EQ(events(e) & 1U << LISTENER, 0);
	EQ(send(fd[CLIENT], "more", 4, 0), 4);
	EQ(send(idle, "some", 4, 0), 4);
	EQ(send(other, "more", 4, 0), 4);
	int another = OK(socket(AF_INET, SOCK_STREAM, 0));
	OK(connect(another, &a.sa, loopback(&a, AF_INET, port_of(fd[LISTENER]))));
	reported(e, 1U << LISTENER | 1U << SERVER | 1U << IDLE | 1U << UDP);
	char text[20] = "";
	EQ(recv(fd[SERVER], text, sizeof text, 0), 10);
	STR_EQ(text, "unreadmore");
	return pass();
}
