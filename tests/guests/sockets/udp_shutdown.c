/* UDP sockets that are shut down, with and without a peer. */
#include "../inet.h"
int main(void)
{
	static const int how[] = { SHUT_RD, SHUT_WR, SHUT_RDWR };
	int c[3], u[3], p = bound(AF_INET, SOCK_DGRAM);
	char byte;
	union addr to;
	for (int i = 0; i < 3; i++) {
		c[i] = bound(AF_INET, SOCK_DGRAM);
		u[i] = bound(AF_INET, SOCK_DGRAM);
		OK(connect(c[i], &to.sa, loopback(&to, AF_INET, port_of(p))));
		OK(shutdown(c[i], how[i]));
		ERR(shutdown(u[i], how[i]), ENOTCONN); /* and yet it is */
	}
	checkpoint();
	socklen_t n = loopback(&to, AF_INET, port_of(p));
	for (int i = 0; i < 3; i++) {
		int fds[] = { c[i], u[i] };
		for (int k = 0; k < 2; k++) {
			struct pollfd q = { fds[k], POLLRDHUP, 0 };
			EQ(poll(&q, 1, 0), how[i] != SHUT_WR);
			if (how[i] != SHUT_WR)
				EQ(recv(fds[k], &byte, 1, 0), 0);
			if (how[i] == SHUT_RD)
				EQ(sendto(fds[k], "x", 1, MSG_NOSIGNAL, k ? &to.sa : NULL, k ? n : 0), 1);
			else
				ERR(sendto(fds[k], "x", 1, MSG_NOSIGNAL, k ? &to.sa : NULL, k ? n : 0), EPIPE);
		}
	}
	return pass();
}
