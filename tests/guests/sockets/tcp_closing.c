/* Both sides have ended their directions at once, and one does not know of it. */
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
		write_all(s[i], "unread", 6);
		OK(shutdown(s[i], SHUT_WR));
		until_state(c[i], TCP_CLOSING);
	}
	checkpoint();
	for (int i = 0; i < 2; i++) {
		if (c[i] < 0)
			continue;
		EQ(tcp_state(c[i]), TCP_CLOSING);
		EQ(tcp_state(s[i]), TCP_FIN_WAIT1);
		read_all(c[i], buf, 6);
		at_end(c[i]);
		deaf(s[i], false);
		read_all(s[i], buf, 10);
		EQ(memcmp(buf, "last words", 10), 0);
		at_end(s[i]);
		until_state(c[i], TCP_CLOSE);
		EQ(opt(c[i], SOL_SOCKET, SO_ERROR), 0);
	}
	return pass();
}
