/* A pair across processes, blocked in recv; a name whose file is gone; credentials of the peer. */
#include "../unix.h"
int main(void)
{
	int s[2];
	char buf[16];
	OK(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, s));
	int l = OK(socket(AF_UNIX, SOCK_STREAM, 0)), c = OK(socket(AF_UNIX, SOCK_STREAM, 0));
	un_bind(l, "gone");
	OK(listen(l, 1));
	OK(un_connect(c, "gone"));
	int a = OK(accept(l, NULL, NULL));
	OK(unlink("gone"));
	pid_t kid = OK(fork());
	if (!kid) {
		close(s[0]);
		ssize_t n;
		while ((n = recv(s[1], buf, 16, 0)) < 0)
			if (errno != EINTR)
				FAIL("recv: %s", strerror(errno));
		EQ(send(s[1], buf, n, 0), n);
		_exit(0);
	}
	close(s[1]);
	checkpoint();
	EQ(send(s[0], "hello", 5, 0), 5);
	EQ(recv(s[0], buf, 16, 0), 5);
	reap_ok(kid);
	EQ(recv(s[0], buf, 16, 0), 0);
	EQ(write(c, "x", 1), 1);
	EQ(read(a, buf, 16), 1);
	ERR(access("gone", F_OK), ENOENT);
	struct ucred u;
	socklen_t n = sizeof u;
	OK(getsockopt(c, SOL_SOCKET, SO_PEERCRED, &u, &n));
	EQ(u.uid, 0);
	return pass();
}
