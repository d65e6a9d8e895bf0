/* A tun device that is up, with an address: packets go through it. */
#include "../tun.h"
static void through(int fd)
{
	int s = OK(socket(AF_INET, SOCK_DGRAM, 0));
	struct sockaddr_in to = own_address(2, 999);
	EQ(sendto(s, "hello", 5, 0, (void *)&to, sizeof to), 5);
	close(s);
	char packet[2000];
	/* Others, of IPv6, may come first. */
	for (;;) {
		struct pollfd p = { fd, POLLIN };
		EQ(poll(&p, 1, 30000), 1);
		long n = OK(read(fd, packet, sizeof packet));
		if (n == 33 && packet[0] == 0x45 && !memcmp(packet + 28, "hello", 5))
			return;
	}
}
int main(void)
{
	const char *name = own_name(0);
	int fd = tun_open(name, IFF_TUN | IFF_NO_PI);
	struct ifreq r = {};
	struct sockaddr_in a = own_address(1, 0);
	memcpy(&r.ifr_addr, &a, sizeof a);
	interface(name, SIOCSIFADDR, r);
	a = own_netmask();
	memcpy(&r.ifr_netmask, &a, sizeof a);
	interface(name, SIOCSIFNETMASK, r);
	r.ifr_mtu = 1400;
	interface(name, SIOCSIFMTU, r);
	r = interface(name, SIOCGIFFLAGS, r);
	r.ifr_flags |= IFF_UP;
	interface(name, SIOCSIFFLAGS, r);
	through(fd);
	int index = interface(name, SIOCGIFINDEX, r).ifr_ifindex;
	struct ifreq was = tun_state(fd);
	checkpoint();
	struct ifreq is = tun_state(fd);
	STR_EQ(is.ifr_name, was.ifr_name);
	EQ(is.ifr_flags, was.ifr_flags);
	EQ(interface(name, SIOCGIFINDEX, r).ifr_ifindex, index);
	EQ(interface(name, SIOCGIFMTU, r).ifr_mtu, 1400);
	through(fd);
	return pass();
}
