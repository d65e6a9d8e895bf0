/* The options of raw sockets: headers of one's own, filters of ICMP messages, checksums. */
#include "../sockopt.h"
#include <linux/icmp.h>
#include <netinet/icmp6.h>
#define IP_NODEFRAG_ 22
#define SOL_RAW_ 255
#define IPV6_HDRINCL_ 36
int main(void)
{
	int icmp = OK(socket(AF_INET, SOCK_RAW, IPPROTO_ICMP)), own = OK(socket(AF_INET, SOCK_RAW, 253)),
	    out = OK(socket(AF_INET, SOCK_RAW, IPPROTO_RAW)), tcp = OK(socket(AF_INET, SOCK_RAW, IPPROTO_TCP)), six = -1,
	    icmp6 = -1;
	uint32_t filter = 1U << ICMP_ECHO | 1U << ICMP_TIMESTAMP;
	OK(setsockopt(icmp, SOL_RAW_, ICMP_FILTER, &filter, sizeof filter));
	struct option o[] = { O(IPPROTO_IP, IP_HDRINCL, 1), O(IPPROTO_IP, IP_NODEFRAG_, 1), O(IPPROTO_IP, IP_TTL, 7),
			      O(IPPROTO_IP, IP_MULTICAST_TTL, 3), O(IPPROTO_IP, IP_RECVERR, 1), O(SOL_SOCKET, SO_BROADCAST, 1),
			      O(SOL_SOCKET, SO_RCVBUF, 40000) };
	SET(own, o);
	opt_set(out, IPPROTO_IP, IP_HDRINCL, 0); /* it begins with 1 */
	struct icmp6_filter f6;
	ICMP6_FILTER_SETBLOCKALL(&f6);
	ICMP6_FILTER_SETPASS(ICMP6_ECHO_REPLY, &f6);
	struct option o6[] = { O(SOL_RAW_, IPV6_CHECKSUM, 6), O(IPPROTO_IPV6, IPV6_HDRINCL_, 1),
			       O(IPPROTO_IPV6, IPV6_UNICAST_HOPS, 9), O(IPPROTO_IPV6, IPV6_MULTICAST_HOPS, 4) };
	if (have(AF_INET6)) {
		six = OK(socket(AF_INET6, SOCK_RAW, 253));
		SET(six, o6);
		icmp6 = OK(socket(AF_INET6, SOCK_RAW, IPPROTO_ICMPV6));
		OK(setsockopt(icmp6, IPPROTO_ICMPV6, ICMP6_FILTER, &f6, sizeof f6));
	}
	checkpoint();
	uint32_t got = 0;
	socklen_t n = sizeof got;
	OK(getsockopt(icmp, SOL_RAW_, ICMP_FILTER, &got, &n));
	EQ(got, filter);
	EQ(opt(icmp, IPPROTO_IP, IP_HDRINCL), 0);
	EQ(opt(icmp, SOL_SOCKET, SO_PROTOCOL), IPPROTO_ICMP);
	CHECK_ALL(own, o);
	EQ(opt(own, SOL_SOCKET, SO_TYPE), SOCK_RAW);
	EQ(opt(own, SOL_SOCKET, SO_PROTOCOL), 253);
	EQ(opt(out, IPPROTO_IP, IP_HDRINCL), 0);
	EQ(opt(tcp, SOL_SOCKET, SO_PROTOCOL), IPPROTO_TCP);
	EQ(opt(tcp, SOL_SOCKET, SO_TYPE), SOCK_RAW);
	if (six < 0)
		return pass();
	CHECK_ALL(six, o6);
	EQ(opt(icmp6, SOL_RAW_, IPV6_CHECKSUM), 2);
	struct icmp6_filter g6;
	n = sizeof g6;
	OK(getsockopt(icmp6, IPPROTO_ICMPV6, ICMP6_FILTER, &g6, &n));
	EQ(memcmp(&g6, &f6, sizeof f6), 0);
	return pass();
}
