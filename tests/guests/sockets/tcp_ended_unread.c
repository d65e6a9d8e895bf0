/* A connection has ended in both directions with data that was not read; its port is in TIME_WAIT. */
#include "../inet.h"
int main(void)
{
	int l = listener(AF_INET, 4), c, s, c6 = -1, s6;
	char buf[16];
	tcp_pair(AF_INET, l, &c, &s);
	OK(shutdown(c, SHUT_WR));
	at_end(s);
	write_all(s, "never read", 10);
	close(s);
	until_state(c, TCP_CLOSE);
	if (have(AF_INET6)) {
		int l6 = listener(AF_INET6, 4);
		static char big[300000];
		fill(big, sizeof big, 7);
		tcp_pair(AF_INET6, l6, &c6, &s6);
		close(l6);
		opt_set(c6, SOL_SOCKET, SO_RCVBUF, 1 << 20);
		OK(shutdown(c6, SHUT_WR));
		at_end(s6);
		write_all(s6, big, 20000);
		close(s6);
		until_state(c6, TCP_CLOSE);
	}
	checkpoint();
	union addr a;
	socklen_t n = sizeof a;
	EQ(tcp_state(c), TCP_CLOSE);
	ERR(getpeername(c, &a.sa, &n), ENOTCONN);
	EQ(opt(c, SOL_SOCKET, SO_ERROR), 0);
	read_all(c, buf, 10);
	EQ(memcmp(buf, "never read", 10), 0);
	at_end(c);
	ERR(send(c, "x", 1, MSG_NOSIGNAL), EPIPE);
	if (c6 >= 0) {
		static char got[20000];
		read_all(c6, got, sizeof got);
		filled(got, sizeof got, 7, "unread data");
		at_end(c6);
	}
	return pass();
}
