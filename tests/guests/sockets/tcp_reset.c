/* A connection that its peer has reset: the error waits to be heard, behind what was not read. */
#include "../inet.h"
int main(void)
{
	int l = listener(AF_INET, 4), c[3], s;
	char buf[16];
	struct linger hard = { 1, 0 };
	for (int i = 0; i < 3; i++) {
		tcp_pair(AF_INET, l, &c[i], &s);
		if (i)
			write_all(s, "unread", 6);
		OK(setsockopt(s, SOL_SOCKET, SO_LINGER, &hard, sizeof hard));
		close(s);
		until_state(c[i], TCP_CLOSE);
	}
	EQ(opt(c[2], SOL_SOCKET, SO_ERROR), ECONNRESET); /* heard already */
	checkpoint();
	struct pollfd p = { c[0], POLLIN, 0 };
	EQ(poll(&p, 1, 0), 1);
	EQ(p.revents, POLLIN | POLLERR | POLLHUP);
	EQ(opt(c[0], SOL_SOCKET, SO_ERROR), ECONNRESET);
	at_end(c[0]);
	read_all(c[1], buf, 6);
	ERR(read(c[1], buf, 1), ECONNRESET);
	at_end(c[1]);
	read_all(c[2], buf, 6);
	at_end(c[2]);
	ERR(send(c[2], "x", 1, MSG_NOSIGNAL), EPIPE);
	return pass();
}
