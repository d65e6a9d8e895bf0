/* A tun device with packets that nobody has read: they are lost, and the next ones come. */
#include "../tun.h"
static void send_through(const char *text)
{
	int s = OK(socket(AF_INET, SOCK_DGRAM, 0));
	struct sockaddr_in to = own_address(2, 999);
	EQ(sendto(s, text, 5, 0, (void *)&to, sizeof to), 5);
	close(s);
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
	r = interface(name, SIOCGIFFLAGS, r);
	r.ifr_flags |= IFF_UP;
	interface(name, SIOCSIFFLAGS, r);
	send_through("first");
	struct pollfd p = { fd, POLLIN, 0 };
	EQ(poll(&p, 1, 30000), 1);
	checkpoint();
	send_through("later");
	char packet[2000];
	/* The first one may still be there, and others, of IPv6, may come. */
	for (;;) {
		EQ(poll(&p, 1, 30000), 1);
		long n = OK(read(fd, packet, sizeof packet));
		if (n == 33 && packet[0] == 0x45 && !memcmp(packet + 28, "later", 5))
			return pass();
	}
}
