/* Raw sockets with addresses: bound, connected to a peer with and without a port, shut down; their packets. What was
 * not read is lost, as a network may. */
#include "../inet.h"
#define PROTOCOL 253
static char got[256];
static socklen_t place(union addr *a, int family, int host, int port)
{
	socklen_t n = loopback(a, family, port);
	if (family == AF_INET)
		a->v4.sin_addr.s_addr = htonl(0x7f000000 + host);
	return n;
}
/* What comes in, without the header that IPv4 shows. */
static void expect(int fd, int family, const char *text)
{
	size_t head = family == AF_INET ? 20 : 0, n = strlen(text);
	struct pollfd p = { fd, POLLIN, 0 };
	EQ(poll(&p, 1, 10000), 1);
	EQ(recv(fd, got, sizeof got, MSG_DONTWAIT), head + n);
	EQ(memcmp(got + head, text, n), 0);
}
int main(void)
{
	int b[2], c[2], d[2], q[2], down[2];
	union addr a, peer;
	socklen_t n;
	for (int i = 0; i < 2; i++) {
		int f = families[i];
		b[i] = -1;
		if (!have(f))
			continue;
		b[i] = OK(socket(f, SOCK_RAW, PROTOCOL)); /* bound */
		OK(bind(b[i], &a.sa, place(&a, f, 2, 0)));
		c[i] = OK(socket(f, SOCK_RAW, PROTOCOL)); /* connected to it, no port */
		OK(connect(c[i], &a.sa, place(&a, f, 2, 0)));
		d[i] = OK(socket(f, SOCK_RAW, PROTOCOL)); /* with a port */
		OK(connect(d[i], &a.sa, place(&a, f, 2, 77)));
		q[i] = OK(socket(f, SOCK_RAW, PROTOCOL + 1));
		down[i] = OK(socket(f, SOCK_RAW, PROTOCOL + 1));
		OK(connect(down[i], &a.sa, place(&a, f, 3, 0)));
		OK(shutdown(down[i], SHUT_RDWR)); /* writing goes on all the same */
		EQ(sendto(q[i], "lost", 4, 0, &a.sa, place(&a, f, 2, 0)), 4);
		struct pollfd p = { q[i], POLLIN, 0 };
		EQ(poll(&p, 1, 10000), 1);
	}
	checkpoint();
	for (int i = 0; i < 2; i++) {
		int f = families[i];
		if (b[i] < 0)
			continue;
		EQ(write(c[i], "by c", 4), 4);
		expect(b[i], f, "by c");
		EQ(write(d[i], "by d", 4), 4);
		expect(b[i], f, "by d");
		n = sizeof peer;
		ERR(getpeername(c[i], &peer.sa, &n), ENOTCONN); /* it has no port */
		n = sizeof peer;
		OK(getpeername(d[i], &peer.sa, &n));
		EQ(ntohs(peer.v4.sin_port), 77); /* at the same place in both families */
		n = sizeof peer;
		OK(getsockname(b[i], &peer.sa, &n));
		place(&a, f, 2, PROTOCOL);
		EQ(memcmp(&a, &peer, n), 0);
		struct pollfd p = { down[i], POLLRDHUP, 0 };
		EQ(poll(&p, 1, 0), 1);
		EQ(p.revents, POLLRDHUP | POLLHUP);
		if (restored())
			ERR(recv(q[i], got, sizeof got, MSG_DONTWAIT), EAGAIN);
		else
			expect(q[i], f, "lost");
		EQ(sendto(q[i], "new", 3, 0, &a.sa, place(&a, f, 2, 0)), 3);
		expect(q[i], f, "new");
	}
	return pass();
}
