/* Netlink sockets: addresses, memberships, options. */
#include "guest.h"
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
static inline int nl_socket(int type, int protocol)
{
	int fd = socket(AF_NETLINK, type, protocol);
	if (fd < 0 && errno == EPROTONOSUPPORT)
		SKIP("the kernel has no netlink protocol %d", protocol);
	return OK(fd);
}
static inline void nl_bind(int fd, unsigned port, unsigned groups)
{
	struct sockaddr_nl a = {.nl_family = AF_NETLINK, .nl_pid = port, .nl_groups = groups};
	OK(bind(fd, (void *)&a, sizeof a));
}
static inline void nl_connect(int fd, unsigned port, unsigned groups)
{
	struct sockaddr_nl a = {.nl_family = AF_NETLINK, .nl_pid = port, .nl_groups = groups};
	OK(connect(fd, (void *)&a, sizeof a));
}
static inline struct sockaddr_nl nl_name(int fd)
{
	struct sockaddr_nl a = {0};
	socklen_t n = sizeof a;
	OK(getsockname(fd, (void *)&a, &n));
	return a;
}
static inline struct sockaddr_nl nl_peer(int fd)
{
	struct sockaddr_nl a = {0};
	socklen_t n = sizeof a;
	OK(getpeername(fd, (void *)&a, &n));
	return a;
}
static inline void nl_join(int fd, int group)
{
	OK(setsockopt(fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &group, sizeof group));
}
static inline void nl_members(int fd, uint32_t words[8])
{
	socklen_t n = 32;
	memset(words, 0, 32);
	OK(getsockopt(fd, SOL_NETLINK, NETLINK_LIST_MEMBERSHIPS, words, &n));
}
static inline int nl_get(int fd, int level, int option)
{
	int v = 0;
	socklen_t n = sizeof v;
	OK(getsockopt(fd, level, option, &v, &n));
	return v;
}
static inline void nl_set(int fd, int level, int option, int v) { OK(setsockopt(fd, level, option, &v, sizeof v)); }
/* Asks for the device lo, and requires the answer. */
static inline void nl_ask(int fd)
{
	struct {
		struct nlmsghdr h;
		struct ifinfomsg i;
	} q = {{sizeof q, RTM_GETLINK, NLM_F_REQUEST, 7, 0}, {.ifi_index = 1}};
	struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
	char answer[8192];
	EQ(sendto(fd, &q, sizeof q, 0, (void *)&kernel, sizeof kernel), sizeof q);
	CHECK(recv(fd, answer, sizeof answer, 0) > (ssize_t)sizeof(struct nlmsghdr));
	EQ(((struct nlmsghdr *)answer)->nlmsg_type, RTM_NEWLINK);
	EQ(((struct nlmsghdr *)answer)->nlmsg_seq, 7);
}
