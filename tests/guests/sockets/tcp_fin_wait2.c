/* A direction that has ended, and the peer knows. */
#include "../inet.h"
int main(void)
{
	int c[2], s[2];
	char buf[16];
	for (int i = 0; i < 2; i++) {
		c[i] = -1;
		if (!have(families[i]))
			continue;
		int l = listener(families[i], 4);
		tcp_pair(families[i], l, &c[i], &s[i]);
		close(l);
		write_all(c[i], "last words", 10);
		OK(shutdown(c[i], SHUT_WR));
		write_all(s[i], "unread", 6);
		until_state(c[i], TCP_FIN_WAIT2);
	}
	checkpoint();
	for (int i = 0; i < 2; i++) {
		if (c[i] < 0)
			continue;
		EQ(tcp_state(c[i]), TCP_FIN_WAIT2);
		struct pollfd p = { c[i], POLLIN | POLLRDHUP, 0 };
		EQ(poll(&p, 1, 0), 1);
		EQ(p.revents, POLLIN);
		EQ(tcp_state(s[i]), TCP_CLOSE_WAIT);
		read_all(c[i], buf, 6);
		write_all(s[i], "answer", 6);
		read_all(c[i], buf, 6);
		read_all(s[i], buf, 10);
		at_end(s[i]);
		close(s[i]);
		at_end(c[i]);
	}
	return pass();
}
