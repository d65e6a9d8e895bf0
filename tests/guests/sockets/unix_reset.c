/* A connection that its peer has reset by not reading: the error does not stand in the way. */
#include "../unix.h"
int main(void)
{
	char c;
	int p[2];
	OK(socketpair(AF_UNIX, SOCK_STREAM, 0, p));
	EQ(write(p[0], "unread", 6), 6);
	close(p[1]);
	checkpoint();
	ssize_t got = read(p[0], &c, 1);
	int error = errno;
	CHECK(got == 0 || (got < 0 && error == ECONNRESET));
	ERR(send(p[0], "x", 1, MSG_NOSIGNAL), EPIPE);
	return pass();
}
