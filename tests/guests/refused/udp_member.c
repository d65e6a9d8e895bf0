/* A member of a multicast group. */
#include "../inet.h"
int main(void)
{
	int fd = bound(AF_INET, SOCK_DGRAM);
	struct ip_mreq group = {.imr_interface.s_addr = htonl(INADDR_LOOPBACK)};
	group.imr_multiaddr.s_addr = htonl(0xef4d0108);
	OK(setsockopt(fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &group, sizeof group));
	checkpoint();
	ERR(setsockopt(fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &group, sizeof group), EADDRINUSE);
	return pass();
}
