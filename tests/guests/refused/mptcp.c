/* A socket of a protocol of IPv4 that is not supported. */
#include "../guest.h"
int main(void)
{
	int fd = socket(AF_INET, SOCK_STREAM, 262 /* IPPROTO_MPTCP */);
	if (fd < 0)
		SKIP("multipath TCP: %s", strerror(errno));
	checkpoint();
	int v;
	socklen_t n = sizeof v;
	OK(getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &v, &n));
	EQ(v, 262);
	return pass();
}
