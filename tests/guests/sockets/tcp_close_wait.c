/* The peer has ended its direction; what it had sent was not read yet. */
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
		write_all(s[i], "last words", 10);
		OK(shutdown(s[i], SHUT_WR));
		write_all(c[i], "unread", 6);
		until_state(c[i], TCP_CLOSE_WAIT);
	}
	checkpoint();
	for (int i = 0; i < 2; i++) {
		if (c[i] < 0)
			continue;
		EQ(tcp_state(c[i]), TCP_CLOSE_WAIT);
		struct pollfd p = { c[i], POLLIN | POLLRDHUP, 0 };
		EQ(poll(&p, 1, 0), 1);
		EQ(p.revents, POLLIN | POLLRDHUP);
		EQ(tcp_state(s[i]), TCP_FIN_WAIT2);
		read_all(c[i], buf, 10);
		at_end(c[i]);
		write_all(c[i], "answer", 6);
		read_all(s[i], buf, 12);
		close(c[i]);
		at_end(s[i]);
	}
	return pass();
}
