/* IPv4 connections of IPv6 sockets. */
#include "../inet.h"
#include <arpa/inet.h>
int main(void)
{
	if (!have(AF_INET6))
		SKIP("no IPv6");
	union addr a = { .v6 = { .sin6_family = AF_INET6 } };
	int l = OK(socket(AF_INET6, SOCK_STREAM, 0)), c = OK(socket(AF_INET6, SOCK_STREAM, 0));
	opt_set(l, IPPROTO_IPV6, IPV6_V6ONLY, 0);
	OK(bind(l, &a.sa, sizeof a.v6));
	OK(listen(l, 4));
	int c4 = OK(socket(AF_INET, SOCK_STREAM, 0)), s4, s;
	socklen_t n = loopback(&a, AF_INET, port_of(l));
	OK(connect(c4, &a.sa, n));
	s4 = OK(accept(l, NULL, NULL));
	struct sockaddr_in6 to = { .sin6_family = AF_INET6, .sin6_port = htons(port_of(l)) };
	inet_pton(AF_INET6, "::ffff:127.0.0.1", &to.sin6_addr);
	OK(connect(c, (struct sockaddr *)&to, sizeof to));
	s = OK(accept(l, NULL, NULL));
	OK(shutdown(s, SHUT_WR));
	until_state(c, TCP_CLOSE_WAIT);
	checkpoint();
	talk(c4, s4);
	EQ(tcp_state(c), TCP_CLOSE_WAIT);
	at_end(c);
	write_all(c, "still", 5);
	char buf[8];
	read_all(s, buf, 5);
	n = sizeof a;
	OK(getpeername(c, &a.sa, &n));
	EQ(a.v6.sin6_family, AF_INET6);
	CHECK(IN6_IS_ADDR_V4MAPPED(&a.v6.sin6_addr));
	return pass();
}
