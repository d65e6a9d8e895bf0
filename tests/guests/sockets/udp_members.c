/* Multicast groups of both families, with and without filters of sources. */
#include "../inet.h"
#include <arpa/inet.h>
#include <net/if.h>
#define GROUP "239.77.1.9"
static void address(struct sockaddr_storage *to, const char *text)
{
	struct sockaddr_in *v4 = (void *)to;
	struct sockaddr_in6 *v6 = (void *)to;
	memset(to, 0, sizeof *to);
	to->ss_family = strchr(text, ':') ? AF_INET6 : AF_INET;
	EQ(inet_pton(to->ss_family, text, to->ss_family == AF_INET ? (void *)&v4->sin_addr : &v6->sin6_addr), 1);
}
static int level(const char *text)
{
	return strchr(text, ':') ? IPPROTO_IPV6 : IPPROTO_IP;
}
static void join(int fd, const char *group)
{
	struct group_req r = { .gr_interface = if_nametoindex("lo") };
	address(&r.gr_group, group);
	OK(setsockopt(fd, level(group), MCAST_JOIN_GROUP, &r, sizeof r));
}
static void source(int fd, int option, const char *group, const char *from)
{
	struct group_source_req r = { .gsr_interface = if_nametoindex("lo") };
	address(&r.gsr_group, group);
	address(&r.gsr_source, from);
	OK(setsockopt(fd, level(group), option, &r, sizeof r));
}
static void filter(int fd, const char *group, unsigned mode, unsigned sources)
{
	char room[sizeof(struct group_filter) + 8 * sizeof(struct sockaddr_storage)];
	struct group_filter *f = (void *)room;
	socklen_t n = sizeof room;
	memset(room, 0, sizeof room);
	f->gf_interface = if_nametoindex("lo");
	f->gf_numsrc = 8;
	address(&f->gf_group, group);
	OK(getsockopt(fd, level(group), MCAST_MSFILTER, f, &n));
	EQ(f->gf_fmode, mode);
	EQ(f->gf_numsrc, sources);
}
int main(void)
{
	int a = OK(socket(AF_INET, SOCK_DGRAM, 0)), b = OK(socket(AF_INET, SOCK_DGRAM, 0)), c = -1, d = bound(AF_INET, SOCK_DGRAM);
	struct sockaddr_in any = { .sin_family = AF_INET }, to = any;
	char buf[8];
	OK(bind(a, (struct sockaddr *)&any, sizeof any));
	OK(bind(b, (struct sockaddr *)&any, sizeof any));
	join(a, GROUP);
	join(a, "239.77.1.10");
	source(a, MCAST_BLOCK_SOURCE, "239.77.1.10", "192.0.2.1");
	source(b, MCAST_JOIN_SOURCE_GROUP, "239.77.1.11", "192.0.2.1");
	source(b, MCAST_JOIN_SOURCE_GROUP, "239.77.1.11", "192.0.2.2");
	if (have(AF_INET6)) {
		c = OK(socket(AF_INET6, SOCK_DGRAM, 0));
		join(c, "ff02::77:1");
		source(c, MCAST_JOIN_SOURCE_GROUP, "ff02::77:2", "2001:db8::1");
	}
	opt_set(d, IPPROTO_IP, IP_MULTICAST_LOOP, 1);
	struct in_addr by = { htonl(INADDR_LOOPBACK) };
	OK(setsockopt(d, IPPROTO_IP, IP_MULTICAST_IF, &by, sizeof by));
	checkpoint();
	filter(a, GROUP, MCAST_EXCLUDE, 0);
	filter(a, "239.77.1.10", MCAST_EXCLUDE, 1);
	filter(b, "239.77.1.11", MCAST_INCLUDE, 2);
	if (c >= 0) {
		filter(c, "ff02::77:1", MCAST_EXCLUDE, 0);
		filter(c, "ff02::77:2", MCAST_INCLUDE, 1);
	}
	to.sin_port = htons(port_of(a));
	inet_pton(AF_INET, GROUP, &to.sin_addr);
	EQ(sendto(d, "to all", 6, 0, (struct sockaddr *)&to, sizeof to), 6);
	EQ(recv(a, buf, 8, 0), 6);
	return pass();
}
