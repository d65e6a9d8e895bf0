/* A byte sent with MSG_OOB: among others, first, alone; read aside and inline. */
#include "../unix.h"
#ifndef SIOCATMARK
#define SIOCATMARK 0x8905
#endif
int main(void)
{
	int among[2], first[2], inside[2], alone[2], one = 1, mark;
	char buf[8] = "";
	OK(socketpair(AF_UNIX, SOCK_STREAM, 0, among));
	OK(socketpair(AF_UNIX, SOCK_STREAM, 0, first));
	OK(socketpair(AF_UNIX, SOCK_STREAM, 0, inside));
	OK(socketpair(AF_UNIX, SOCK_STREAM, 0, alone));
	OK(setsockopt(inside[1], SOL_SOCKET, SO_OOBINLINE, &one, sizeof one));
	if (send(alone[0], "A", 1, MSG_OOB) < 0)
		SKIP("MSG_OOB of unix sockets: %s", strerror(errno));
	EQ(write(among[0], "abc", 3), 3);
	EQ(send(among[0], "X", 1, MSG_OOB), 1);
	EQ(write(among[0], "def", 3), 3);
	EQ(send(first[0], "Y", 1, MSG_OOB), 1);
	EQ(write(first[0], "ghi", 3), 3);
	EQ(write(inside[0], "jkl", 3), 3);
	EQ(send(inside[0], "Z", 1, MSG_OOB), 1);
	EQ(write(inside[0], "mno", 3), 3);
	checkpoint();
	EQ(recv(alone[1], buf, 1, MSG_OOB), 1);
	EQ(buf[0], 'A');
	EQ(recv(among[1], buf, 8, 0), 3);
	CHECK(!memcmp(buf, "abc", 3));
	OK(ioctl(among[1], SIOCATMARK, &mark));
	EQ(mark, 1);
	EQ(recv(among[1], buf, 1, MSG_OOB), 1);
	EQ(buf[0], 'X');
	EQ(recv(among[1], buf, 8, 0), 3);
	CHECK(!memcmp(buf, "def", 3));
	OK(ioctl(first[1], SIOCATMARK, &mark));
	EQ(mark, 1);
	EQ(recv(first[1], buf, 1, MSG_OOB), 1);
	EQ(buf[0], 'Y');
	EQ(recv(first[1], buf, 8, 0), 3);
	EQ(recv(inside[1], buf, 8, 0), 3);
	CHECK(!memcmp(buf, "jkl", 3));
	EQ(recv(inside[1], buf, 8, 0), 4);
	CHECK(!memcmp(buf, "Zmno", 4));
	return pass();
}
