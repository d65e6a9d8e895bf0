/* Netlink sockets that are connected: to each other, to a group, to the kernel, and one no longer. */
#include "../netlink.h"
int main(void)
{
	struct nlmsghdr m = {sizeof m, 0x20, 0, 5, 0}, got;
	int a = nl_socket(SOCK_RAW, NETLINK_USERSOCK), b = nl_socket(SOCK_DGRAM, NETLINK_USERSOCK),
	    group = nl_socket(SOCK_RAW, NETLINK_USERSOCK), kernel = nl_socket(SOCK_RAW, NETLINK_ROUTE),
	    member = nl_socket(SOCK_RAW, NETLINK_USERSOCK), loose = nl_socket(SOCK_RAW, NETLINK_USERSOCK);
	nl_bind(a, 0, 0);
	nl_bind(b, 0, 0);
	nl_bind(member, 0, 0);
	nl_connect(a, nl_name(b).nl_pid, 0);
	nl_connect(b, nl_name(a).nl_pid, 0);
	nl_connect(group, 0, 1u << 19);
	nl_connect(kernel, 0, 0);
	nl_connect(loose, nl_name(a).nl_pid, 0);
	struct sockaddr none = {.sa_family = AF_UNSPEC};
	OK(connect(loose, &none, sizeof none));
	checkpoint();
	EQ(nl_peer(a).nl_pid, nl_name(b).nl_pid);
	EQ(nl_peer(b).nl_pid, nl_name(a).nl_pid);
	EQ(nl_peer(group).nl_pid, 0);
	EQ(nl_peer(group).nl_groups, 1u << 19);
	EQ(nl_peer(loose).nl_pid, 0);
	EQ(send(a, &m, sizeof m, 0), sizeof m);
	EQ(recv(b, &got, sizeof got, MSG_DONTWAIT), sizeof got);
	/* A connected socket takes messages of nobody else. */
	struct sockaddr_nl to = nl_name(a);
	ERR(sendto(member, &m, sizeof m, 0, (void *)&to, sizeof to), ECONNREFUSED);
	to = nl_name(kernel);
	nl_ask(kernel);
	return pass();
}
