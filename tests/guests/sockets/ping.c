/* Sockets of ICMP echo: their number, their peer, and an answer of the host. */
#include "../inet.h"
#include <netinet/icmp6.h>
#include <netinet/ip_icmp.h>
static const int protocols[] = { IPPROTO_ICMP, IPPROTO_ICMPV6 };
static void echo(int fd, int i, union addr *to, socklen_t n)
{
	struct icmphdr h = { .type = i ? ICMP6_ECHO_REQUEST : ICMP_ECHO, .un.echo.sequence = htons(7) };
	EQ(sendto(fd, &h, sizeof h, 0, to ? &to->sa : NULL, n), sizeof h);
	struct pollfd p = { fd, POLLIN, 0 };
	EQ(poll(&p, 1, 10000), 1);
	EQ(recv(fd, &h, sizeof h, MSG_DONTWAIT), sizeof h);
	EQ(h.type, i ? ICMP6_ECHO_REPLY : ICMP_ECHOREPLY);
	EQ(ntohs(h.un.echo.id), port_of(fd));
	EQ(ntohs(h.un.echo.sequence), 7);
}
int main(void)
{
	int u[2], b[2], c[2], number[2];
	union addr a;
	for (int i = 0; i < 2; i++) {
		u[i] = -1;
		if (!have(families[i]))
			continue;
		u[i] = socket(families[i], SOCK_DGRAM, protocols[i]);
		if (u[i] < 0)
			SKIP("sockets of ICMP echo: %s", strerror(errno));
		b[i] = OK(socket(families[i], SOCK_DGRAM, protocols[i]));
		OK(bind(b[i], &a.sa, loopback(&a, families[i], 0)));
		number[i] = port_of(b[i]);
		CHECK(number[i] != 0);
		opt_set(b[i], SOL_SOCKET, SO_RCVBUF, 30000);
		c[i] = OK(socket(families[i], SOCK_DGRAM, protocols[i]));
		OK(connect(c[i], &a.sa, loopback(&a, families[i], 0)));
	}
	int rcv = opt(b[0], SOL_SOCKET, SO_RCVBUF);
	checkpoint();
	for (int i = 0; i < 2; i++) {
		if (u[i] < 0)
			continue;
		EQ(port_of(u[i]), 0);
		EQ(port_of(b[i]), number[i]);
		EQ(opt(b[i], SOL_SOCKET, SO_RCVBUF), rcv);
		socklen_t n = loopback(&a, families[i], 0);
		echo(u[i], i, &a, n);
		echo(b[i], i, &a, n);
		echo(c[i], i, NULL, 0);
	}
	return pass();
}
