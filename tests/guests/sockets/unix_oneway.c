/* Datagram pairs one end of which has been connected elsewhere, or to nobody, since. */
#include "../unix.h"
int main(void)
{
	struct sockaddr none = {.sa_family = AF_UNSPEC};
	int p[2], q[2], r = OK(socket(AF_UNIX, SOCK_DGRAM, 0));
	char buf[8];
	un_bind(r, "receiver");
	OK(socketpair(AF_UNIX, SOCK_DGRAM, 0, p));
	OK(socketpair(AF_UNIX, SOCK_DGRAM, 0, q));
	EQ(write(p[0], "lost", 4), 4);
	OK(un_connect(p[1], "receiver")); /* what was not read is lost, of which the sender is told */
	OK(connect(q[1], &none, sizeof none));
	EQ(write(q[0], "kept", 4), 4);
	checkpoint();
	ERR(recv(p[0], buf, 8, MSG_DONTWAIT), ECONNRESET);
	ERR(send(p[0], "x", 1, 0), EPERM);
	EQ(write(p[1], "over", 4), 4);
	EQ(recv(r, buf, 8, MSG_DONTWAIT), 4);
	EQ(recv(q[1], buf, 8, MSG_DONTWAIT), 4);
	EQ(write(q[0], "more", 4), 4);
	EQ(recv(q[1], buf, 8, MSG_DONTWAIT), 4);
	ERR(send(q[1], "x", 1, 0), ENOTCONN);
	return pass();
}
