/* A socket of the kernel's cryptography. */
#include "../guest.h"
int main(void)
{
	int fd = socket(AF_ALG, SOCK_SEQPACKET, 0);
	if (fd < 0)
		SKIP("AF_ALG: %s", strerror(errno));
	EQ(fd, 3);
	checkpoint();
	OK(fcntl(fd, F_GETFD));
	return pass();
}
