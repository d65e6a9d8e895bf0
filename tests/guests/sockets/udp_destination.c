/* Unread datagrams say to which of the host's addresses they were sent, whether that was asked for in time or not. */
#include "../inet.h"
#include <arpa/inet.h>
static const char *const v4[] = { "127.0.0.2", "127.0.0.1", "127.3.2.1" };
static int any(int family)
{
	union addr a;
	memset(&a, 0, sizeof a);
	a.sa.sa_family = family;
	int fd = OK(socket(family, SOCK_DGRAM, 0));
	OK(bind(fd, &a.sa, family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6)));
	return fd;
}
static void fill_queue(int fd)
{
	int from = OK(socket(AF_INET, SOCK_DGRAM, 0));
	for (int i = 0; i < 3; i++) {
		struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(port_of(fd)) };
		inet_pton(AF_INET, v4[i], &to.sin_addr);
		EQ(sendto(from, v4[i], strlen(v4[i]), 0, (void *)&to, sizeof to), (ssize_t)strlen(v4[i]));
	}
	close(from);
}
/* Each datagram holds the address that it was sent to. */
static void next(int fd, const char *wanted)
{
	char control[256], data[64] = "", text[64] = "";
	struct iovec v = { data, sizeof data - 1 };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control };
	OK(recvmsg(fd, &m, MSG_DONTWAIT));
	STR_EQ(data, wanted);
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c)) {
		if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO)
			inet_ntop(AF_INET, &((struct in_pktinfo *)CMSG_DATA(c))->ipi_addr, text, sizeof text);
		if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
			struct in6_addr to = ((struct in6_pktinfo *)CMSG_DATA(c))->ipi6_addr;
			if (IN6_IS_ADDR_V4MAPPED(&to))
				inet_ntop(AF_INET, to.s6_addr + 12, text, sizeof text);
			else
				inet_ntop(AF_INET6, &to, text, sizeof text);
		}
	}
	STR_EQ(text, wanted);
}
int main(void)
{
	int asked = any(AF_INET), late = any(AF_INET), six = have(AF_INET6) ? any(AF_INET6) : -1;
	opt_set(asked, IPPROTO_IP, IP_PKTINFO, 1);
	fill_queue(asked);
	fill_queue(late);
	if (six >= 0) {
		union addr to;
		int from = OK(socket(AF_INET6, SOCK_DGRAM, 0));
		fill_queue(six);
		socklen_t n = loopback(&to, AF_INET6, port_of(six));
		EQ(sendto(from, "::1", 3, 0, &to.sa, n), 3);
		close(from);
	}
	checkpoint();
	EQ(opt(asked, IPPROTO_IP, IP_PKTINFO), 1);
	EQ(opt(late, IPPROTO_IP, IP_PKTINFO), 0);
	opt_set(late, IPPROTO_IP, IP_PKTINFO, 1);
	if (six >= 0) {
		EQ(opt(six, IPPROTO_IPV6, IPV6_RECVPKTINFO), 0);
		opt_set(six, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1);
	}
	for (int i = 0; i < 3; i++) {
		next(asked, v4[i]);
		next(late, v4[i]);
		if (six >= 0)
			next(six, v4[i]);
	}
	if (six >= 0)
		next(six, "::1");
	return pass();
}
