/* Queues of errors with something in them: sockets go on without it. */
#include "../inet.h"
#include <linux/errqueue.h>
#include <linux/net_tstamp.h>
static void filled_queue(int fd)
{
	struct pollfd p = { fd, 0, 0 };
	EQ(poll(&p, 1, 5000), 1);
	EQ(p.revents, POLLERR);
}
int main(void)
{
	char buf[16];
	int l = listener(AF_INET, 4), client, server, udp = bound(AF_INET, SOCK_DGRAM), stamped = bound(AF_INET, SOCK_DGRAM);
	/* A completion of MSG_ZEROCOPY. */
	tcp_pair(AF_INET, l, &client, &server);
	opt_set(client, SOL_SOCKET, SO_ZEROCOPY, 1);
	EQ(send(client, "zero", 4, MSG_ZEROCOPY), 4);
	filled_queue(client);
	/* A time stamp, and a datagram that waits beside it. */
	opt_set(stamped, SOL_SOCKET, SO_TIMESTAMPING, SOF_TIMESTAMPING_TX_SOFTWARE | SOF_TIMESTAMPING_SOFTWARE);
	union addr to;
	socklen_t n = loopback(&to, AF_INET, port_of(udp));
	OK(connect(stamped, &to.sa, n));
	EQ(send(stamped, "stamped", 7, 0), 7);
	filled_queue(stamped);
	n = loopback(&to, AF_INET, port_of(stamped));
	EQ(sendto(udp, "beside", 6, 0, &to.sa, n), 6);
	checkpoint();
	read_all(server, buf, 4);
	EQ(memcmp(buf, "zero", 4), 0);
	talk(client, server);
	EQ(recv(stamped, buf, sizeof buf, MSG_DONTWAIT), 6);
	EQ(memcmp(buf, "beside", 6), 0);
	EQ(recv(udp, buf, sizeof buf, MSG_DONTWAIT), 7);
	EQ(opt(client, SOL_SOCKET, SO_ZEROCOPY), 1);
	return pass();
}
