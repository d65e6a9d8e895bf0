/* UDP_CORK is set, and nothing waits. */
#include "../inet.h"
#include <netinet/udp.h>
int main(void)
{
	int a = bound(AF_INET, SOCK_DGRAM), b = bound(AF_INET, SOCK_DGRAM);
	union addr to;
	char buf[16];
	OK(connect(b, &to.sa, loopback(&to, AF_INET, port_of(a))));
	opt_set(b, IPPROTO_UDP, UDP_CORK, 1);
	checkpoint();
	EQ(opt(b, IPPROTO_UDP, UDP_CORK), 1);
	write_all(b, "one ", 4);
	write_all(b, "datagram", 8);
	ERR(recv(a, buf, 16, MSG_DONTWAIT), EAGAIN);
	opt_set(b, IPPROTO_UDP, UDP_CORK, 0);
	EQ(recv(a, buf, 16, 0), 12);
	return pass();
}
