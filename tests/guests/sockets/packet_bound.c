/* Packet sockets: of both types, at a device and at all, with and without a protocol. */
#include "../packet.h"
int main(void)
{
	int lo = OK(if_nametoindex("lo"));
	int raw = pk_socket(SOCK_RAW | SOCK_CLOEXEC, ETH_TEST), datagram = pk_socket(SOCK_DGRAM | SOCK_NONBLOCK, 0),
	    idle = pk_socket(SOCK_RAW, 0), quiet = pk_socket(SOCK_RAW, 0);
	pk_bind(datagram, ETH_TEST, lo);
	pk_bind(quiet, 0, lo);
	checkpoint();
	EQ(pk_name(raw).sll_protocol, htons(ETH_TEST));
	EQ(pk_name(raw).sll_ifindex, 0);
	EQ(pk_name(datagram).sll_protocol, htons(ETH_TEST));
	EQ(pk_name(datagram).sll_ifindex, lo);
	EQ(pk_name(idle).sll_protocol, 0);
	EQ(pk_name(idle).sll_ifindex, 0);
	EQ(pk_name(quiet).sll_ifindex, lo);
	EQ(pk_get(raw, SOL_SOCKET, SO_TYPE), SOCK_RAW);
	EQ(pk_get(datagram, SOL_SOCKET, SO_TYPE), SOCK_DGRAM);
	CHECK(fcntl(datagram, F_GETFL) & O_NONBLOCK);
	EQ(fcntl(raw, F_GETFD), FD_CLOEXEC);
	pk_send(ETH_TEST, "after the restore");
	pk_expect(raw, ETH_HLEN, "after the restore");
	pk_expect(datagram, 0, "after the restore");
	ERR(recv(idle, &lo, 1, MSG_DONTWAIT), EAGAIN);
	return pass();
}
