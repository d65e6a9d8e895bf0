/* Both directions of a connection are shut down, so the kernel keeps its port in TIME_WAIT. */
#include "../inet.h"
int main(void)
{
	char byte;
	int l = listener(AF_INET, 4), c, s;
	tcp_pair(AF_INET, l, &c, &s);
	close(l);
	OK(shutdown(c, SHUT_WR));
	OK(shutdown(s, SHUT_WR));
	EQ(read(c, &byte, 1), 0);
	EQ(read(s, &byte, 1), 0);
	struct tcp_info i;
	socklen_t n;
	do {
		n = sizeof i;
		OK(getsockopt(c, IPPROTO_TCP, TCP_INFO, &i, &n));
	} while (i.tcpi_state != TCP_CLOSE);
	checkpoint();
	EQ(read(c, &byte, 1), 0);
	EQ(read(s, &byte, 1), 0);
	ERR(send(c, "x", 1, MSG_NOSIGNAL), EPIPE);
	return pass();
}
