/* A connection of a socket to itself. */
#include "../inet.h"
int main(void)
{
	char buf[16];
	union addr a;
	int c = bound(AF_INET, SOCK_STREAM);
	socklen_t n = loopback(&a, AF_INET, port_of(c));
	OK(connect(c, &a.sa, n));
	write_all(c, "to myself", 9);
	checkpoint();
	EQ(tcp_state(c), TCP_ESTABLISHED);
	read_all(c, buf, 9);
	EQ(memcmp(buf, "to myself", 9), 0);
	write_all(c, "again", 5);
	read_all(c, buf, 5);
	return pass();
}
