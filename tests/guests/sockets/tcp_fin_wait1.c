/* The end of a direction, not acknowledged by the peer yet, is sent again behind its data. */
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
		deaf(s[i], true);
		write_all(c[i], "last words", 10);
		OK(shutdown(c[i], SHUT_WR));
		until_state(c[i], TCP_FIN_WAIT1);
	}
	checkpoint();
	for (int i = 0; i < 2; i++) {
		if (c[i] < 0)
			continue;
		EQ(tcp_state(c[i]), TCP_FIN_WAIT1);
		ERR(send(c[i], "x", 1, MSG_NOSIGNAL), EPIPE);
		deaf(s[i], false);
		read_all(s[i], buf, 10);
		EQ(memcmp(buf, "last words", 10), 0);
		at_end(s[i]);
		write_all(s[i], "answer", 6);
		read_all(c[i], buf, 6);
		until_state(c[i], TCP_FIN_WAIT2);
		close(s[i]);
		at_end(c[i]);
	}
	return pass();
}
