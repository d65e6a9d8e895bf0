/* Netlink sockets that were never bound, of both types. */
#include "../netlink.h"
int main(void)
{
	int raw = nl_socket(SOCK_RAW, NETLINK_ROUTE), datagram = nl_socket(SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, NETLINK_ROUTE),
	    generic = nl_socket(SOCK_RAW, NETLINK_GENERIC);
	checkpoint();
	EQ(nl_name(raw).nl_pid, 0);
	EQ(nl_get(raw, SOL_SOCKET, SO_TYPE), SOCK_RAW);
	EQ(nl_get(raw, SOL_SOCKET, SO_PROTOCOL), NETLINK_ROUTE);
	EQ(nl_get(datagram, SOL_SOCKET, SO_TYPE), SOCK_DGRAM);
	EQ(nl_get(generic, SOL_SOCKET, SO_PROTOCOL), NETLINK_GENERIC);
	CHECK(fcntl(datagram, F_GETFL) & O_NONBLOCK);
	EQ(fcntl(datagram, F_GETFD), FD_CLOEXEC);
	nl_ask(raw);
	nl_ask(datagram);
	return pass();
}
