/* A tap with its own address, header and owner; a descriptor without a device. */
#include "../tun.h"
int main(void)
{
	const char *name = own_name(0);
	int fd = tun_open(name, IFF_TAP | IFF_VNET_HDR), none = tun_open(NULL, 0), copy = OK(dup(fd));
	OK(fcntl(fd, F_SETFL, O_NONBLOCK));
	OK(ioctl(fd, TUNSETVNETHDRSZ, &(int){ 12 }));
	OK(ioctl(fd, TUNSETSNDBUF, &(int){ 100000 }));
	OK(ioctl(fd, TUNSETOWNER, 1234));
	struct ifreq r = {}, mac = {};
	mac.ifr_hwaddr.sa_family = 1;
	memcpy(mac.ifr_hwaddr.sa_data, "\x02\x11\x22\x33\x44\x55", 6);
	interface(name, SIOCSIFHWADDR, mac);
	struct ifreq was = tun_state(fd);
	checkpoint();
	EQ(tun_state(fd).ifr_flags, was.ifr_flags);
	CHECK(same_description(fd, copy));
	EQ(fcntl(fd, F_GETFL) & O_NONBLOCK, O_NONBLOCK);
	int value;
	OK(ioctl(fd, TUNGETVNETHDRSZ, &value));
	EQ(value, 12);
	OK(ioctl(fd, TUNGETSNDBUF, &value));
	EQ(value, 100000);
	CHECK(!memcmp(interface(name, SIOCGIFHWADDR, r).ifr_hwaddr.sa_data, mac.ifr_hwaddr.sa_data, 6));
	char path[100], owner[20] = {};
	snprintf(path, sizeof path, "/sys/class/net/%s/owner", name);
	int f = OK(open(path, O_RDONLY));
	OK(read(f, owner, sizeof owner));
	STR_EQ(owner, "1234\n");
	ERR(ioctl(none, TUNGETIFF, &r), EBADFD);
	strcpy(r.ifr_name, own_name(1));
	r.ifr_flags = IFF_TUN;
	OK(ioctl(none, TUNSETIFF, &r));
	return pass();
}
