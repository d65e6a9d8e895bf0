/* Connections that their peers have reset by not reading: the error is told once, after what was queued. */
#include "../unix.h"
int main(void)
{
	char c;
	int p[2], q[2], r[2];
	OK(socketpair(AF_UNIX, SOCK_STREAM, 0, p));
	OK(socketpair(AF_UNIX, SOCK_STREAM, 0, q));
	OK(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, r));
	EQ(write(p[0], "unread", 6), 6);
	close(p[1]);
	EQ(write(q[0], "unread", 6), 6);
	EQ(write(q[1], "q", 1), 1);
	close(q[1]);
	EQ(write(r[0], "unread", 6), 6);
	close(r[1]);
	checkpoint();
	ERR(read(p[0], &c, 1), ECONNRESET);
	EQ(read(p[0], &c, 1), 0);
	ERR(send(p[0], "x", 1, MSG_NOSIGNAL), EPIPE);
	EQ(read(q[0], &c, 1), 1);
	EQ(c, 'q');
	ERR(read(q[0], &c, 1), ECONNRESET);
	EQ(read(q[0], &c, 1), 0);
	ERR(read(r[0], &c, 1), ECONNRESET);
	EQ(read(r[0], &c, 1), 0);
	return pass();
}
