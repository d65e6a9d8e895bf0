/* Datagrams that were not read yet, from several senders; an empty and a large one among them. */
#include "../inet.h"
static char big[60000], got[65536];
static void expect(int fd, const char *data, size_t n, int port)
{
	union addr from;
	socklen_t len = sizeof from;
	EQ(recvfrom(fd, got, sizeof got, MSG_DONTWAIT, &from.sa, &len), n);
	EQ(memcmp(got, data, n), 0);
	EQ(ntohs(from.v4.sin_port), port); /* at the same place in both families */
}
int main(void)
{
	int a[2], b[2], c[2], k[2];
	fill(big, sizeof big, 3);
	for (int i = 0; i < 2; i++) {
		union addr to;
		a[i] = -1;
		if (!have(families[i]))
			continue;
		a[i] = bound(families[i], SOCK_DGRAM);
		b[i] = bound(families[i], SOCK_DGRAM);
		c[i] = bound(families[i], SOCK_DGRAM);
		k[i] = bound(families[i], SOCK_DGRAM);
		socklen_t n = loopback(&to, families[i], port_of(a[i]));
		EQ(sendto(b[i], "first", 5, 0, &to.sa, n), 5);
		EQ(sendto(c[i], big, sizeof big, 0, &to.sa, n), sizeof big);
		EQ(sendto(b[i], "", 0, 0, &to.sa, n), 0);
		EQ(sendto(c[i], "odd", 3, 0, &to.sa, n), 3);
		/* one that hears from its peer alone */
		n = loopback(&to, families[i], port_of(b[i]));
		OK(connect(k[i], &to.sa, n));
		n = loopback(&to, families[i], port_of(k[i]));
		EQ(sendto(b[i], "", 0, 0, &to.sa, n), 0);
		EQ(sendto(b[i], "peer", 4, 0, &to.sa, n), 4);
	}
	checkpoint();
	for (int i = 0; i < 2; i++) {
		if (a[i] < 0)
			continue;
		expect(a[i], "first", 5, port_of(b[i]));
		expect(a[i], big, sizeof big, port_of(c[i]));
		expect(a[i], "", 0, port_of(b[i]));
		expect(a[i], "odd", 3, port_of(c[i]));
		ERR(recv(a[i], got, 8, MSG_DONTWAIT), EAGAIN);
		expect(k[i], "", 0, port_of(b[i]));
		expect(k[i], "peer", 4, port_of(b[i]));
	}
	return pass();
}
