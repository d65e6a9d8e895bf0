/* Data over connections that are not accepted yet, of both types; a descriptor; a client that is gone. */
#include "../unix_rights.h"
static void meet(int type)
{
	char name[8] = {'l', '0' + type}, buf[64] = "";
	int l = OK(socket(AF_UNIX, type, 0)), c[3], p[2];
	un_bind(l, name);
	OK(listen(l, 5));
	for (int i = 0; i < 3; i++) {
		c[i] = OK(socket(AF_UNIX, type, 0));
		OK(un_connect(c[i], name));
	}
	EQ(send(c[0], "one", 3, 0), 3);
	EQ(send(c[0], "two", 3, 0), 3);
	EQ(send(c[1], "last words", 10, 0), 10);
	close(c[1]);
	int file = OK(open("file", O_CREAT | O_RDWR, 0600));
	EQ(pwrite(file, "text", 4, 0), 4);
	send_right(c[2], "file", file);
	close(file);
	OK(shutdown(c[2], SHUT_WR));
	OK(socketpair(AF_UNIX, type, 0, p));
	if (type == SOCK_STREAM)
		checkpoint();
	else
		meet(SOCK_STREAM);
	struct ucred u;
	socklen_t n = sizeof u;
	int a = OK(accept(l, NULL, NULL));
	OK(getsockopt(a, SOL_SOCKET, SO_PEERCRED, &u, &n));
	EQ(u.pid, getpid());
	EQ(recv(a, buf, 3, MSG_DONTWAIT), 3);
	EQ(recv(a, buf + 3, 60, MSG_DONTWAIT), 3);
	CHECK(!memcmp(buf, "onetwo", 6));
	EQ(send(a, "back", 4, 0), 4);
	EQ(recv(c[0], buf, 64, MSG_DONTWAIT), 4);
	a = OK(accept(l, NULL, NULL));
	EQ(recv(a, buf, 64, MSG_DONTWAIT), 10);
	CHECK(!memcmp(buf, "last words", 10));
	EQ(recv(a, buf, 64, MSG_DONTWAIT), 0);
	a = OK(accept(l, NULL, NULL));
	int got = recv_right(a, "file");
	EQ(pread(got, buf, 4, 0), 4);
	CHECK(!memcmp(buf, "text", 4));
	EQ(recv(a, buf, 64, MSG_DONTWAIT), 0);
	EQ(send(a, "x", 1, 0), 1);
	EQ(recv(c[2], buf, 64, MSG_DONTWAIT), 1);
}
int main(void)
{
	meet(SOCK_SEQPACKET);
	return pass();
}
