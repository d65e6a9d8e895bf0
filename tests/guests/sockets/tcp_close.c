/* With --tcp-close: established connections come back closed, listeners work. */
#include "../inet.h"
int main(void)
{
	char buf[8];
	int l = listener(AF_INET, 4), c, s, port = port_of(l);
	tcp_pair(AF_INET, l, &c, &s);
	EQ(write(c, "lost", 4), 4);
	pid_t before = getpid();
	checkpoint();
	EQ(getpid(), before);
	EQ(port_of(l), port);
	struct tcp_info i;
	socklen_t n = sizeof i;
	OK(getsockopt(c, IPPROTO_TCP, TCP_INFO, &i, &n));
	if (restored()) {
		EQ(i.tcpi_state, TCP_CLOSE);
		CHECK(send(s, "x", 1, MSG_NOSIGNAL) < 0);
	} else {
		EQ(i.tcpi_state, TCP_ESTABLISHED);
		read_all(s, buf, 4);
	}
	int c2, s2;
	tcp_pair(AF_INET, l, &c2, &s2);
	EQ(write(c2, "new", 3), 3);
	read_all(s2, buf, 3);
	return pass();
}
