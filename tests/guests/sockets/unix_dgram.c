/* Datagram sockets: bound, connected, one receiver of several senders whose names stand in the queue. */
#include "../unix.h"
int main(void)
{
	char buf[64];
	int r = OK(socket(AF_UNIX, SOCK_DGRAM, 0)), a = OK(socket(AF_UNIX, SOCK_DGRAM, 0)), b = OK(socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0)),
	    loose = OK(socket(AF_UNIX, SOCK_DGRAM, 0));
	un_bind(r, "receiver");
	un_bind(a, "sender a");
	OK(un_connect(a, "receiver"));
	OK(un_connect(b, "receiver")); /* without a name */
	EQ(write(a, "from a", 6), 6);
	EQ(write(b, "from b", 6), 6);
	EQ(write(a, "", 0), 0); /* an empty datagram counts */
	checkpoint();
	struct sockaddr_un from;
	socklen_t n = sizeof from;
	EQ(recvfrom(r, buf, 64, 0, (void *)&from, &n), 6);
	CHECK(!memcmp(buf, "from a", 6));
	STR_EQ(from.sun_path, "sender a");
	EQ(recv(r, buf, 64, 0), 6);
	CHECK(!memcmp(buf, "from b", 6));
	EQ(recv(r, buf, 64, 0), 0);
	ERR(recv(r, buf, 64, MSG_DONTWAIT), EAGAIN);
	EQ(write(b, "more", 4), 4);
	EQ(recv(r, buf, 64, 0), 4);
	socklen_t len = un_name(&from, "sender a");
	EQ(sendto(r, "to a", 4, 0, (void *)&from, len), 4);
	EQ(read(a, buf, 64), 4);
	OK(un_connect(loose, "receiver"));
	return pass();
}
