/* Addresses that are not this host's, and an address without a port. */
#include "../inet.h"
#include <arpa/inet.h>
int main(void)
{
	int port = 10000 + getpid() % 20000; /* others run at the same time */
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(port), .sin_addr = { htonl(0xc0000201) } }, b;
	int free_ = OK(socket(AF_INET, SOCK_STREAM, 0)), trans = OK(socket(AF_INET, SOCK_DGRAM, 0)), bare = OK(socket(AF_INET, SOCK_STREAM, 0));
	opt_set(free_, IPPROTO_IP, IP_FREEBIND, 1);
	OK(bind(free_, (struct sockaddr *)&a, sizeof a));
	OK(listen(free_, 1));
	opt_set(trans, IPPROTO_IP, IP_TRANSPARENT, 1);
	OK(bind(trans, (struct sockaddr *)&a, sizeof a));
	opt_set(bare, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1);
	a.sin_port = 0;
	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	OK(bind(bare, (struct sockaddr *)&a, sizeof a));
	EQ(port_of(bare), 0);
	checkpoint();
	EQ(port_of(free_), port);
	EQ(port_of(trans), port);
	EQ(port_of(bare), 0);
	socklen_t n = sizeof b;
	OK(getsockname(bare, (struct sockaddr *)&b, &n));
	EQ(b.sin_addr.s_addr, htonl(INADDR_LOOPBACK));
	OK(getsockname(trans, (struct sockaddr *)&b, &n));
	EQ(b.sin_addr.s_addr, htonl(0xc0000201));
	EQ(opt(trans, IPPROTO_IP, IP_TRANSPARENT), 1);
	EQ(opt(free_, IPPROTO_IP, IP_FREEBIND), 1);
	EQ(opt(bare, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT), 1);
	return pass();
}
