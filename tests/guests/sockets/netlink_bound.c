/* Netlink sockets with a port id: one of their own choice, one that the kernel chose. */
#include "../netlink.h"
int main(void)
{
	int own = nl_socket(SOCK_RAW, NETLINK_ROUTE), kernels = nl_socket(SOCK_RAW, NETLINK_ROUTE);
	unsigned port = 0x7000000u + getpid();
	nl_bind(own, port, 0);
	nl_bind(kernels, 0, 0);
	unsigned chosen = nl_name(kernels).nl_pid;
	CHECK(chosen != 0);
	checkpoint();
	EQ(nl_name(own).nl_pid, port);
	EQ(nl_name(kernels).nl_pid, chosen);
	EQ(nl_name(own).nl_groups, 0);
	nl_ask(own);
	nl_ask(kernels);
	return pass();
}
