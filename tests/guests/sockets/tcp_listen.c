/* Listening TCP sockets of both families with their options; they take connections afterwards. */
#include "../inet.h"
int main(void)
{
	int l[2] = { -1, -1 }, port[2], any = -1;
	char c;
	for (int i = 0; i < 2; i++) {
		if (!have(families[i]))
			continue;
		l[i] = OK(socket(families[i], SOCK_STREAM, 0));
		opt_set(l[i], SOL_SOCKET, SO_REUSEADDR, 1);
		if (families[i] == AF_INET6)
			opt_set(l[i], IPPROTO_IPV6, IPV6_V6ONLY, 1);
		opt_set(l[i], IPPROTO_TCP, TCP_DEFER_ACCEPT, 3);
		union addr a;
		OK(bind(l[i], &a.sa, loopback(&a, families[i], 0)));
		OK(listen(l[i], 17 + i));
		port[i] = port_of(l[i]);
	}
	any = OK(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)); /* neither bound nor connected */
	checkpoint();
	for (int i = 0; i < 2; i++) {
		if (l[i] < 0)
			continue;
		int s, k;
		EQ(port_of(l[i]), port[i]);
		EQ(opt(l[i], SOL_SOCKET, SO_REUSEADDR), 1);
		EQ(opt(l[i], SOL_SOCKET, SO_ACCEPTCONN), 1);
		CHECK(opt(l[i], IPPROTO_TCP, TCP_DEFER_ACCEPT) > 0);
		if (families[i] == AF_INET6)
			EQ(opt(l[i], IPPROTO_IPV6, IPV6_V6ONLY), 1);
		struct tcp_info info;
		socklen_t n = sizeof info;
		OK(getsockopt(l[i], IPPROTO_TCP, TCP_INFO, &info, &n));
		EQ(info.tcpi_sacked, 17 + i); /* of a listener: the backlog */
		opt_set(l[i], IPPROTO_TCP, TCP_DEFER_ACCEPT, 0);
		tcp_pair(families[i], l[i], &k, &s);
		EQ(write(k, "x", 1), 1);
		EQ(read(s, &c, 1), 1);
	}
	CHECK(fcntl(any, F_GETFL) & O_NONBLOCK);
	EQ(fcntl(any, F_GETFD), FD_CLOEXEC);
	ERR(send(any, "x", 1, MSG_NOSIGNAL), EPIPE);
	return pass();
}
