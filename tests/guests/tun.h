/* /dev/net/tun for guests. */
#ifndef TUN_GUEST_H
#define TUN_GUEST_H
#include "guest.h"
#include <arpa/inet.h>
#include <linux/if_tun.h>
#include <net/if.h>

/* A device name that no other guest has. */
static inline const char *own_name(int n)
{
	static char names[8][IFNAMSIZ];
	snprintf(names[n], IFNAMSIZ, "crt%d-%d", (int)getpid() % 1000000, n);
	return names[n];
}

/* An address in a subnet of four that no other guest has: 1 for the device, 2 for somebody behind it. */
static inline struct sockaddr_in own_address(int host, int port)
{
	uint32_t subnet = (198U << 24 | 19U << 16) + (uint32_t)getpid() % 16384 * 4;
	return (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(subnet + host) };
}

static inline struct sockaddr_in own_netmask(void)
{
	return (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr.s_addr = htonl(~3U) };
}

static inline int tun_open(const char *name, int flags)
{
	int fd = open("/dev/net/tun", O_RDWR);
	if (fd < 0)
		SKIP("/dev/net/tun: %s", strerror(errno));
	if (name) {
		struct ifreq r = { .ifr_flags = flags };
		strcpy(r.ifr_name, name);
		if (ioctl(fd, TUNSETIFF, &r))
			SKIP("TUNSETIFF: %s", strerror(errno));
	}
	return fd;
}

static inline struct ifreq tun_state(int fd)
{
	struct ifreq r = {};
	OK(ioctl(fd, TUNGETIFF, &r));
	return r;
}

/* One of SIOCGIF* or SIOCSIF* for a device. */
static inline struct ifreq interface(const char *name, unsigned long command, struct ifreq r)
{
	int s = OK(socket(AF_INET, SOCK_DGRAM, 0));
	strcpy(r.ifr_name, name);
	OK(ioctl(s, command, &r));
	close(s);
	return r;
}
#endif
