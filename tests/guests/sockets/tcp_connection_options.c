/* Options of TCP on a connection that ended one direction, in both families. */
#include "../sockopt.h"
int main(void)
{
	static struct option o[][8] = { {
		O(IPPROTO_TCP, TCP_WINDOW_CLAMP, 4000), O(IPPROTO_TCP, TCP_NOTSENT_LOWAT, 8192), O(IPPROTO_TCP, TCP_INQ, 1),
		O(IPPROTO_TCP, TCP_SAVE_SYN, 1), O(IPPROTO_TCP, TCP_USER_TIMEOUT, 4321), O(IPPROTO_IP, IP_MINTTL, 60),
		O(IPPROTO_IP, IP_TOS, 0x28), O(IPPROTO_TCP, TCP_THIN_LINEAR_TIMEOUTS, 1),
	}, {
		O(IPPROTO_TCP, TCP_WINDOW_CLAMP, 4000), O(IPPROTO_TCP, TCP_CORK, 1), O(IPPROTO_IPV6, IPV6_MINHOPCOUNT, 60),
		O(IPPROTO_IPV6, IPV6_TCLASS, 0x28), O(IPPROTO_IPV6, IPV6_UNICAST_HOPS, 99), O(IPPROTO_IPV6, IPV6_RECVERR, 1),
		O(IPPROTO_IP, IP_TTL, 77), O(IPPROTO_IPV6, IPV6_RECVPKTINFO, 1),
	} };
	int c[2] = { -1, -1 }, s[2];
	for (int i = 0; i < 2; i++) {
		if (!have(families[i]))
			continue;
		int l = listener(families[i], 2);
		tcp_pair(families[i], l, &c[i], &s[i]);
		SET(c[i], o[i]);
		OK(shutdown(s[i], SHUT_WR));
		until_state(c[i], TCP_CLOSE_WAIT);
	}
	checkpoint();
	for (int i = 0; i < 2; i++) {
		if (c[i] < 0)
			continue;
		CHECK_ALL(c[i], o[i]);
		opt_set(c[i], IPPROTO_TCP, TCP_CORK, 0);
		char buf[8];
		at_end(c[i]);
		write_all(c[i], "there", 5);
		read_all(s[i], buf, 5);
	}
	return pass();
}
