/* SOCK_PACKET, the type of long ago, bound to a device by name. */
#include "../packet.h"
int main(void)
{
	int fd = pk_socket(SOCK_PACKET, ETH_TEST + 6);
	struct sockaddr name = {.sa_family = AF_PACKET, .sa_data = "lo"}, now = {0};
	OK(bind(fd, &name, sizeof name));
	checkpoint();
	socklen_t n = sizeof now;
	EQ(pk_get(fd, SOL_SOCKET, SO_TYPE), SOCK_PACKET);
	OK(getsockname(fd, &now, &n));
	STR_EQ(now.sa_data, "lo");
	pk_send(ETH_TEST + 6, "as ever");
	pk_expect(fd, ETH_HLEN, "as ever");
	return pass();
}
