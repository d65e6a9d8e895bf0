/* A datagram that a corked socket holds back cannot be read out of the kernel. */
#include "../inet.h"
#include <netinet/udp.h>
int main(void)
{
	char buf[16];
	int fd = bound(AF_INET, SOCK_DGRAM);
	union addr to;
	socklen_t n = loopback(&to, AF_INET, port_of(fd));
	OK(connect(fd, &to.sa, n));
	EQ(send(fd, "half ", 5, MSG_MORE), 5);
	checkpoint();
	EQ(send(fd, "whole", 5, 0), 5);
	EQ(recv(fd, buf, 16, 0), 10);
	return pass();
}
