/* Errors that connected UDP sockets have not told yet, with datagrams behind them and without. */
#include "../inet.h"
#include <netinet/udp.h>
/* A socket that has an error pending, after so many datagrams from its peer, which is gone. */
static int refused(int family, int datagrams, bool queue)
{
	union addr a;
	int peer = bound(family, SOCK_DGRAM), fd = bound(family, SOCK_DGRAM);
	socklen_t n = loopback(&a, family, port_of(fd));
	for (int i = 0; i < datagrams; i++)
		EQ(sendto(peer, "behind", 6, 0, &a.sa, n), 6);
	n = loopback(&a, family, port_of(peer));
	OK(connect(fd, &a.sa, n));
	if (queue)
		opt_set(fd, family == AF_INET ? IPPROTO_IP : IPPROTO_IPV6, family == AF_INET ? IP_RECVERR : IPV6_RECVERR, 1);
	close(peer);
	EQ(send(fd, "x", 1, 0), 1);
	struct pollfd p = { fd, 0, 0 };
	EQ(poll(&p, 1, 5000), 1);
	EQ(p.revents, POLLERR);
	return fd;
}
static void received(int fd, int datagrams)
{
	char buf[16];
	for (int i = 0; i < datagrams; i++) {
		EQ(recv(fd, buf, sizeof buf, MSG_DONTWAIT), 6);
		EQ(memcmp(buf, "behind", 6), 0);
	}
	ERR(recv(fd, buf, sizeof buf, MSG_DONTWAIT), EAGAIN);
}
int main(void)
{
	char buf[16];
	int families[] = { AF_INET, AF_INET6 }, fds[2][2], queued;
	for (int f = 0; f < 2; f++)
		for (int k = 0; k < 2; k++)
			fds[f][k] = have(families[f]) ? refused(families[f], 3 * k, false) : -1;
	queued = refused(AF_INET, 2, true);
	checkpoint();
	for (int f = 0; f < 2; f++)
		for (int k = 0; k < 2; k++) {
			int fd = fds[f][k];
			if (fd < 0)
				continue;
			struct pollfd p = { fd, POLLIN, 0 };
			EQ(poll(&p, 1, 0), 1);
			EQ(p.revents, k ? POLLERR | POLLIN : POLLERR);
			ERR(recv(fd, buf, sizeof buf, MSG_DONTWAIT), ECONNREFUSED);
			received(fd, 3 * k);
		}
	/* With a queue of errors, a process that goes on after a dump may have lost the error, but no datagram. */
	int error = opt(queued, SOL_SOCKET, SO_ERROR);
	CHECK(error == ECONNREFUSED || error == 0);
	received(queued, 2);
	return pass();
}
