/* The processes that connections take each other for: a server and its clients in a tree, a pair whose maker is gone. */
#include "../unix.h"
static pid_t peer(int fd)
{
	struct ucred u;
	socklen_t n = sizeof u;
	OK(getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &u, &n));
	return u.pid;
}
int main(void)
{
	int own[2], l = OK(socket(AF_UNIX, SOCK_STREAM, 0)), carrier[2];
	OK(socketpair(AF_UNIX, SOCK_STREAM, 0, own));
	un_bind(l, "server");
	OK(listen(l, 4));
	pid_t kids[2], server = getpid();
	int a[2];
	for (int i = 0; i < 2; i++) {
		kids[i] = OK(fork());
		if (!kids[i]) {
			int c = OK(socket(AF_UNIX, SOCK_STREAM, 0));
			char byte;
			OK(un_connect(c, "server"));
			ssize_t n;
			while ((n = read(c, &byte, 1)) < 0)
				if (errno != EINTR)
					FAIL("read: %s", strerror(errno));
			EQ(n, 1);
			EQ(peer(c), server);
			EQ(write(c, &byte, 1), 1);
			_exit(0);
		}
		a[i] = OK(accept(l, NULL, NULL));
	}
	/* A child makes a pair, passes both ends on and is gone. */
	OK(socketpair(AF_UNIX, SOCK_DGRAM, 0, carrier));
	pid_t maker = OK(fork());
	if (!maker) {
		int p[2];
		OK(socketpair(AF_UNIX, SOCK_STREAM, 0, p));
		union {
			struct cmsghdr head;
			char room[CMSG_SPACE(2 * sizeof(int))];
		} control = {.head = {CMSG_LEN(2 * sizeof(int)), SOL_SOCKET, SCM_RIGHTS}};
		struct iovec io = {"x", 1};
		struct msghdr m = {.msg_iov = &io, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
		memcpy(CMSG_DATA(&control.head), p, sizeof p);
		EQ(sendmsg(carrier[0], &m, 0), 1);
		_exit(0);
	}
	reap_ok(maker);
	int p[2];
	char byte;
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(2 * sizeof(int))];
	} control;
	struct iovec io = {&byte, 1};
	struct msghdr m = {.msg_iov = &io, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
	EQ(recvmsg(carrier[1], &m, 0), 1);
	memcpy(p, CMSG_DATA(&control.head), sizeof p);
	checkpoint();
	EQ(peer(own[0]), getpid());
	EQ(peer(own[1]), getpid());
	EQ(peer(l), getpid());
	EQ(peer(p[0]), maker);
	EQ(peer(p[1]), maker);
	for (int i = 0; i < 2; i++) {
		EQ(peer(a[i]), kids[i]);
		EQ(write(a[i], "?", 1), 1);
		EQ(read(a[i], &byte, 1), 1);
		reap_ok(kids[i]);
	}
	int c = OK(socket(AF_UNIX, SOCK_STREAM, 0));
	OK(un_connect(c, "server"));
	EQ(peer(c), getpid());
	return pass();
}
