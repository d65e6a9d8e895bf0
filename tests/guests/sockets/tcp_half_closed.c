/* Connections in FIN_WAIT2 and CLOSE_WAIT, with data still unread. */
#include "../inet.h"
int main(void)
{
	char buf[16];
	int l = listener(AF_INET, 4), c, s, c2, s2;
	tcp_pair(AF_INET, l, &c, &s);
	EQ(write(c, "last", 4), 4);
	OK(shutdown(c, SHUT_WR));
	tcp_pair(AF_INET, l, &c2, &s2);
	EQ(write(s2, "left", 4), 4);
	OK(shutdown(s2, SHUT_WR));
	read_all(c2, buf, 4);
	EQ(read(c2, buf, 1), 0); /* the end is seen already */
	struct tcp_info i;
	socklen_t n = sizeof i;
	do {
		n = sizeof i;
		OK(getsockopt(c, IPPROTO_TCP, TCP_INFO, &i, &n));
	} while (i.tcpi_state != TCP_FIN_WAIT2);
	checkpoint();
	read_all(s, buf, 4);
	EQ(read(s, buf, 1), 0);
	ERR(send(c, "x", 1, MSG_NOSIGNAL), EPIPE);
	EQ(write(s, "back", 4), 4);
	read_all(c, buf, 4);
	close(s);
	EQ(read(c, buf, 1), 0);
	EQ(read(c2, buf, 1), 0);
	EQ(write(c2, "more", 4), 4);
	read_all(s2, buf, 4);
	return pass();
}
