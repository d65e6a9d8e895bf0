/* The options of a connection. */
#include "../inet.h"
int main(void)
{
	static const struct { int level, name, value; } o[] = {
		{ IPPROTO_TCP, TCP_NODELAY, 1 }, { SOL_SOCKET, SO_KEEPALIVE, 1 }, { IPPROTO_TCP, TCP_KEEPIDLE, 77 },
		{ IPPROTO_TCP, TCP_KEEPINTVL, 33 }, { IPPROTO_TCP, TCP_KEEPCNT, 5 }, { IPPROTO_TCP, TCP_USER_TIMEOUT, 12345 },
		{ IPPROTO_TCP, TCP_SYNCNT, 4 }, { IPPROTO_TCP, TCP_LINGER2, 20 }, { IPPROTO_IP, IP_TOS, 0x10 }, { IPPROTO_IP, IP_TTL, 33 },
		{ SOL_SOCKET, SO_PRIORITY, 4 }, { SOL_SOCKET, SO_RCVLOWAT, 3 }, { SOL_SOCKET, SO_OOBINLINE, 1 }, { SOL_SOCKET, SO_MARK, 9 },
		{ SOL_SOCKET, SO_REUSEPORT, 1 }, { SOL_SOCKET, SO_DONTROUTE, 1 },
	};
	int l = listener(AF_INET, 1), c, s, before[16];
	tcp_pair(AF_INET, l, &c, &s);
	for (int i = 0; i < 16; i++) {
		opt_set(c, o[i].level, o[i].name, o[i].value);
		before[i] = opt(c, o[i].level, o[i].name);
	}
	opt_set(s, SOL_SOCKET, SO_SNDBUF, 50000);
	int snd = opt(s, SOL_SOCKET, SO_SNDBUF);
	struct linger g = { 1, 9 }, h;
	OK(setsockopt(c, SOL_SOCKET, SO_LINGER, &g, sizeof g));
	OK(setsockopt(c, IPPROTO_TCP, TCP_CONGESTION, "reno", 4));
	struct tcp_info a, b;
	socklen_t n = sizeof a;
	OK(getsockopt(c, IPPROTO_TCP, TCP_INFO, &a, &n));
	checkpoint();
	for (int i = 0; i < 16; i++)
		if (opt(c, o[i].level, o[i].name) != before[i])
			FAIL("option %d of level %d is %d, expected %d", o[i].name, o[i].level, opt(c, o[i].level, o[i].name), before[i]);
	EQ(opt(s, SOL_SOCKET, SO_SNDBUF), snd);
	n = sizeof h;
	OK(getsockopt(c, SOL_SOCKET, SO_LINGER, &h, &n));
	EQ(h.l_onoff, 1);
	EQ(h.l_linger, 9);
	char name[16] = "";
	n = sizeof name;
	OK(getsockopt(c, IPPROTO_TCP, TCP_CONGESTION, name, &n));
	STR_EQ(name, "reno");
	n = sizeof b;
	OK(getsockopt(c, IPPROTO_TCP, TCP_INFO, &b, &n));
	EQ(b.tcpi_options & 7, a.tcpi_options & 7); /* timestamps, SACK, window scaling */
	EQ(b.tcpi_snd_wscale, a.tcpi_snd_wscale);
	EQ(b.tcpi_rcv_wscale, a.tcpi_rcv_wscale);
	EQ(b.tcpi_state, TCP_ESTABLISHED);
	return pass();
}
