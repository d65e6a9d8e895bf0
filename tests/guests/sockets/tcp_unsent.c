/* A send queue that the peer's window keeps back. */
#include "../inet.h"
int main(void)
{
	static char bulk[4 << 20], got[4 << 20];
	int l = listener(AF_INET, 1), c, s;
	fill(bulk, sizeof bulk, 2);
	tcp_pair(AF_INET, l, &c, &s);
	OK(fcntl(c, F_SETFL, O_NONBLOCK));
	size_t sent = 0;
	ssize_t n;
	while (sent < sizeof bulk && (n = write(c, bulk + sent, sizeof bulk - sent)) > 0)
		sent += n;
	checkpoint();
	CHECK(fcntl(c, F_GETFL) & O_NONBLOCK);
	read_all(s, got, sent);
	CHECK(!memcmp(got, bulk, sent));
	struct pollfd p = { c, POLLOUT, 0 };
	EQ(poll(&p, 1, 10000), 1);
	EQ(write(c, "end", 3), 3);
	read_all(s, got, 3);
	return pass();
}
