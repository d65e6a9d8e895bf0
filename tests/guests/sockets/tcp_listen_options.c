/* Options of listening sockets. */
#include "../sockopt.h"
int main(void)
{
	static struct option o[] = {
		O(IPPROTO_TCP, TCP_DEFER_ACCEPT, 7), O(IPPROTO_TCP, TCP_FASTOPEN, 5), O(IPPROTO_TCP, TCP_SAVE_SYN, 2),
		O(IPPROTO_TCP, TCP_MAXSEG, 900), O(IPPROTO_TCP, TCP_WINDOW_CLAMP, 12000), O(IPPROTO_TCP, TCP_FASTOPEN_NO_COOKIE, 1),
		O(IPPROTO_TCP, TCP_NODELAY, 1), O(SOL_SOCKET, SO_KEEPALIVE, 1),
	};
	int l = listener(AF_INET, 3), l6 = -1;
	SET(l, o);
	if (have(AF_INET6)) {
		union addr a = { .v6 = { .sin6_family = AF_INET6 } };
		l6 = OK(socket(AF_INET6, SOCK_STREAM, 0));
		opt_set(l6, IPPROTO_IPV6, IPV6_V6ONLY, 1);
		a.v6.sin6_port = htons(port_of(l));
		OK(bind(l6, &a.sa, sizeof a.v6));
		OK(listen(l6, 9));
	}
	struct tcp_info i;
	checkpoint();
	CHECK_ALL(l, o);
	socklen_t n = sizeof i;
	OK(getsockopt(l, IPPROTO_TCP, TCP_INFO, &i, &n));
	EQ(i.tcpi_sacked, 3); /* the backlog */
	if (l6 >= 0) {
		EQ(opt(l6, IPPROTO_IPV6, IPV6_V6ONLY), 1);
		EQ(port_of(l6), port_of(l));
		int c, s;
		tcp_pair(AF_INET6, l6, &c, &s);
		talk(c, s);
	}
	return pass();
}
