/* Options of IPv4 on UDP. */
#include "../sockopt.h"
int main(void)
{
	static struct option o[] = {
		O(IPPROTO_IP, IP_TOS, 0x10), O(IPPROTO_IP, IP_TTL, 33), O(IPPROTO_IP, IP_PKTINFO, 1), O(IPPROTO_IP, IP_RECVTTL, 1),
		O(IPPROTO_IP, IP_RECVTOS, 1), O(IPPROTO_IP, IP_RECVERR, 1), O(IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_PROBE),
		O(IPPROTO_IP, IP_MULTICAST_TTL, 5), O(IPPROTO_IP, IP_MULTICAST_LOOP, 0), O(IPPROTO_IP, IP_MULTICAST_ALL, 0),
		O(IPPROTO_IP, IP_RECVOPTS, 1), O(IPPROTO_IP, IP_RETOPTS, 1), O(IPPROTO_IP, IP_MINTTL, 3),
		O(IPPROTO_IP, IP_UNICAST_IF, 0), O(IPPROTO_IP, IP_TRANSPARENT, 1), O(IPPROTO_IP, IP_FREEBIND, 1),
		O(IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1), O(IPPROTO_IP, IP_RECVORIGDSTADDR, 1), O(IPPROTO_IP, IP_CHECKSUM, 1),
		O(IPPROTO_IP, IP_RECVFRAGSIZE, 1), O(IPPROTO_IP, 26 /* IP_RECVERR_RFC4884 */, 1), O(IPPROTO_IP, IP_PASSSEC, 1),
		O(IPPROTO_IP, 51 /* IP_LOCAL_PORT_RANGE */, 40000 << 16 | 30000),
		O(IPPROTO_UDP, 103 /* UDP_SEGMENT */, 1200), O(IPPROTO_UDP, 104 /* UDP_GRO */, 1),
		O(SOL_SOCKET, SO_NO_CHECK, 1),
	};
	int fd = OK(socket(AF_INET, SOCK_DGRAM, 0));
	SET(fd, o);
	struct in_addr to = { htonl(INADDR_LOOPBACK) }, now_;
	OK(setsockopt(fd, IPPROTO_IP, IP_MULTICAST_IF, &to, sizeof to));
	unsigned char route[4] = { 1, 1, 1, 0 }, got[40];
	OK(setsockopt(fd, IPPROTO_IP, IP_OPTIONS, route, sizeof route)); /* no operation, end */
	checkpoint();
	CHECK_ALL(fd, o);
	socklen_t n = sizeof now_;
	OK(getsockopt(fd, IPPROTO_IP, IP_MULTICAST_IF, &now_, &n));
	EQ(now_.s_addr, to.s_addr);
	n = sizeof got;
	OK(getsockopt(fd, IPPROTO_IP, IP_OPTIONS, got, &n));
	EQ(n, 4);
	EQ(memcmp(got, route, 4), 0);
	return pass();
}
