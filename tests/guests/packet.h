/* Packet sockets at the loopback device, with an ethertype for experiments. */
#include "guest.h"
#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#define ETH_TEST 0x88b5
static inline int pk_socket(int type, int protocol)
{
	int fd = socket(AF_PACKET, type, htons(protocol));
	if (fd < 0 && (errno == EAFNOSUPPORT || errno == EPERM))
		SKIP("packet sockets: %s", strerror(errno));
	return OK(fd);
}
static inline struct sockaddr_ll pk_address(int protocol, int ifindex)
{
	return (struct sockaddr_ll){.sll_family = AF_PACKET, .sll_protocol = htons(protocol), .sll_ifindex = ifindex, .sll_halen = 6};
}
static inline void pk_bind(int fd, int protocol, int ifindex)
{
	struct sockaddr_ll a = pk_address(protocol, ifindex);
	OK(bind(fd, (void *)&a, sizeof a));
}
static inline struct sockaddr_ll pk_name(int fd)
{
	struct sockaddr_ll a = {0};
	socklen_t n = sizeof a;
	OK(getsockname(fd, (void *)&a, &n));
	return a;
}
static inline int pk_get(int fd, int level, int option)
{
	int v = 0;
	socklen_t n = sizeof v;
	OK(getsockopt(fd, level, option, &v, &n));
	return v;
}
static inline void pk_set(int fd, int level, int option, int v) { OK(setsockopt(fd, level, option, &v, sizeof v)); }
/* Sends a frame of that type to loopback from a socket of its own. */
static inline void pk_send(int protocol, const char *text)
{
	int fd = OK(socket(AF_PACKET, SOCK_DGRAM, 0));
	struct sockaddr_ll to = pk_address(protocol, OK(if_nametoindex("lo")));
	EQ(sendto(fd, text, strlen(text), 0, (void *)&to, sizeof to), strlen(text));
	close(fd);
}
/* Receives until the text comes: others may use loopback too. */
static inline void pk_expect(int fd, size_t skip, const char *text)
{
	char frame[2048];
	for (;;) {
		struct pollfd p = {fd, POLLIN, 0};
		EQ(poll(&p, 1, 5000), 1);
		ssize_t n = OK(recv(fd, frame, sizeof frame, 0));
		if (n >= (ssize_t)(skip + strlen(text)) && !memcmp(frame + skip, text, strlen(text)))
			return;
	}
}
