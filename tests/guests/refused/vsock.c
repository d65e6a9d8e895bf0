/* A socket of a family that is not supported. */
#include "../guest.h"
int main(void)
{
	int fd = socket(AF_VSOCK, SOCK_STREAM, 0);
	if (fd < 0)
		SKIP("vsock: %s", strerror(errno));
	checkpoint();
	int v;
	socklen_t n = sizeof v;
	OK(getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &v, &n));
	EQ(v, AF_VSOCK);
	return pass();
}
