/* UDP of both families: bound, connected, options. */
#include "../inet.h"
int main(void)
{
	int a[2], b[2], port[2];
	char buf[8];
	for (int i = 0; i < 2; i++) {
		a[i] = -1;
		if (!have(families[i]))
			continue;
		union addr to;
		a[i] = bound(families[i], SOCK_DGRAM);
		b[i] = bound(families[i], SOCK_DGRAM | SOCK_NONBLOCK);
		OK(connect(b[i], &to.sa, loopback(&to, families[i], port_of(a[i]))));
		port[i] = port_of(b[i]);
		opt_set(a[i], SOL_SOCKET, SO_BROADCAST, 1);
		opt_set(a[i], SOL_SOCKET, SO_RCVBUF, 50000);
		opt_set(a[i], SOL_SOCKET, SO_REUSEPORT, 1);
	}
	int loose = OK(socket(AF_INET, SOCK_DGRAM, 0));
	int rcv = opt(a[0], SOL_SOCKET, SO_RCVBUF);
	checkpoint();
	for (int i = 0; i < 2; i++) {
		if (a[i] < 0)
			continue;
		union addr from;
		socklen_t n = sizeof from;
		EQ(port_of(b[i]), port[i]);
		EQ(opt(a[i], SOL_SOCKET, SO_BROADCAST), 1);
		EQ(opt(a[i], SOL_SOCKET, SO_RCVBUF), rcv);
		EQ(opt(a[i], SOL_SOCKET, SO_REUSEPORT), 1);
		ERR(read(b[i], buf, 8), EAGAIN);
		EQ(write(b[i], "hello", 5), 5);
		EQ(recvfrom(a[i], buf, 8, 0, &from.sa, &n), 5);
		EQ(ntohs(families[i] == AF_INET ? from.v4.sin_port : from.v6.sin6_port), port[i]);
		EQ(sendto(a[i], "back", 4, 0, &from.sa, n), 4);
		struct pollfd p = { b[i], POLLIN, 0 };
		EQ(poll(&p, 1, 5000), 1);
		EQ(read(b[i], buf, 8), 4);
	}
	union addr none;
	socklen_t n = sizeof none;
	ERR(getpeername(loose, &none.sa, &n), ENOTCONN);
	return pass();
}
