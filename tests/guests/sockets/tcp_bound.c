/* Bound sockets that do not listen, a dual-stack listener, one bound to every address. */
#include "../inet.h"
int main(void)
{
	int b = bound(AF_INET, SOCK_STREAM), port = port_of(b), l = -1;
	if (have(AF_INET6)) {
		union addr a = { .v6 = { .sin6_family = AF_INET6 } };
		l = OK(socket(AF_INET6, SOCK_STREAM, 0));
		opt_set(l, IPPROTO_IPV6, IPV6_V6ONLY, 0);
		OK(bind(l, &a.sa, sizeof a.v6));
		OK(listen(l, 3));
	}
	checkpoint();
	EQ(port_of(b), port);
	EQ(opt(b, SOL_SOCKET, SO_ACCEPTCONN), 0);
	OK(listen(b, 3));
	int c, s;
	char x;
	tcp_pair(AF_INET, b, &c, &s);
	EQ(write(c, "x", 1), 1);
	EQ(read(s, &x, 1), 1);
	if (l >= 0) {
		EQ(opt(l, IPPROTO_IPV6, IPV6_V6ONLY), 0);
		tcp_pair(AF_INET, l, &c, &s);
		EQ(write(c, "x", 1), 1);
		EQ(read(s, &x, 1), 1);
	}
	return pass();
}
