/* A device that persists: it stays when the tree is killed, and is attached to again. */
#include "../tun.h"
int main(void)
{
	const char *name = own_name(0);
	int fd = tun_open(name, IFF_TAP | IFF_NO_PI);
	OK(ioctl(fd, TUNSETPERSIST, 1));
	struct ifreq r = {}, was = tun_state(fd);
	int index = interface(name, SIOCGIFINDEX, r).ifr_ifindex;
	checkpoint();
	EQ(tun_state(fd).ifr_flags, was.ifr_flags);
	EQ(interface(name, SIOCGIFINDEX, r).ifr_ifindex, index);
	OK(ioctl(fd, TUNSETPERSIST, 0));
	close(fd);
	EQ(if_nametoindex(name), 0);
	return pass();
}
