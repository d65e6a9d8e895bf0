/* A connection that is not read from any more; the peer does not know. */
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
		OK(shutdown(c[i], SHUT_RD));
		until_state(c[i], TCP_ESTABLISHED);
	}
	checkpoint();
	for (int i = 0; i < 2; i++) {
		if (c[i] < 0)
			continue;
		EQ(tcp_state(c[i]), TCP_ESTABLISHED);
		at_end(c[i]);
		struct pollfd p = { c[i], POLLIN | POLLRDHUP, 0 };
		EQ(poll(&p, 1, 0), 1);
		EQ(p.revents, POLLIN | POLLRDHUP);
		write_all(c[i], "answer", 6);
		read_all(s[i], buf, 6);
		EQ(tcp_state(s[i]), TCP_ESTABLISHED);
	}
	return pass();
}
