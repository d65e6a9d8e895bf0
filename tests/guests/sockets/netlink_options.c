/* Options of netlink sockets, and a filter. */
#include "../netlink.h"
#include <linux/filter.h>
int main(void)
{
	static const int options[] = {NETLINK_PKTINFO, NETLINK_BROADCAST_ERROR, NETLINK_NO_ENOBUFS, NETLINK_LISTEN_ALL_NSID,
				      NETLINK_CAP_ACK, NETLINK_EXT_ACK, NETLINK_GET_STRICT_CHK};
	enum { N = sizeof options / sizeof *options };
	int fd = nl_socket(SOCK_RAW, NETLINK_ROUTE), plain = nl_socket(SOCK_RAW, NETLINK_ROUTE);
	nl_bind(fd, 0, 0);
	for (int i = 0; i < N; i++)
		nl_set(fd, SOL_NETLINK, options[i], 1);
	nl_set(fd, SOL_SOCKET, SO_RCVBUF, 100000);
	nl_set(fd, SOL_SOCKET, SO_PASSCRED, 1);
	nl_set(fd, SOL_SOCKET, SO_PRIORITY, 4);
	struct sock_filter code[] = {{BPF_RET | BPF_K, 0, 0, 0xffff}};
	struct sock_fprog program = {1, code};
	OK(setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program));
	struct timeval t = {2, 250000}, u;
	OK(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof t));
	int buffer = nl_get(fd, SOL_SOCKET, SO_RCVBUF);
	checkpoint();
	for (int i = 0; i < N; i++) {
		EQ(nl_get(fd, SOL_NETLINK, options[i]), 1);
		EQ(nl_get(plain, SOL_NETLINK, options[i]), 0);
	}
	EQ(nl_get(fd, SOL_SOCKET, SO_RCVBUF), buffer);
	EQ(nl_get(fd, SOL_SOCKET, SO_PASSCRED), 1);
	EQ(nl_get(fd, SOL_SOCKET, SO_PRIORITY), 4);
	socklen_t n = sizeof u;
	OK(getsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &u, &n));
	EQ(u.tv_sec, 2);
	struct sock_filter back[4];
	n = 4;
	OK(getsockopt(fd, SOL_SOCKET, SO_GET_FILTER, back, &n));
	EQ(n, 1);
	EQ(back[0].k, 0xffff);
	return pass();
}
