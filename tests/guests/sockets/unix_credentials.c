/* Credentials that came with queued messages: of this process, of one that is gone, of another user; and none. */
#include "../unix.h"
static struct ucred receive(int fd, char *byte)
{
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(sizeof(struct ucred))];
	} control = {0};
	struct iovec io = {byte, 1};
	struct msghdr m = {.msg_iov = &io, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
	struct ucred u;
	EQ(recvmsg(fd, &m, MSG_DONTWAIT), 1);
	EQ(control.head.cmsg_type, SCM_CREDENTIALS);
	memcpy(&u, CMSG_DATA(&control.head), sizeof u);
	return u;
}
int main(void)
{
	static const int types[] = {SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET};
	int s[3][2], one = 1;
	pid_t gone[3];
	for (int i = 0; i < 3; i++) {
		OK(socketpair(AF_UNIX, types[i], 0, s[i]));
		EQ(write(s[i][0], "0", 1), 1); /* before anybody asks */
		OK(setsockopt(s[i][1], SOL_SOCKET, SO_PASSCRED, &one, sizeof one));
		EQ(write(s[i][0], "1", 1), 1);
		gone[i] = OK(fork());
		if (!gone[i]) {
			OK(setresgid(31, 31, 31));
			OK(setresuid(32, 32, 32));
			EQ(write(s[i][0], "2", 1), 1);
			_exit(0);
		}
		reap_ok(gone[i]);
		EQ(write(s[i][0], "3", 1), 1);
	}
	checkpoint();
	for (int i = 0; i < 3; i++) {
		char byte;
		struct ucred u = receive(s[i][1], &byte);
		EQ(byte, '0');
		EQ(u.pid, 0);
		u = receive(s[i][1], &byte);
		EQ(byte, '1');
		EQ(u.pid, getpid());
		EQ(u.uid, 0);
		u = receive(s[i][1], &byte);
		EQ(byte, '2');
		EQ(u.pid, gone[i]);
		EQ(u.uid, 32);
		EQ(u.gid, 31);
		u = receive(s[i][1], &byte);
		EQ(byte, '3');
		EQ(u.pid, getpid());
		EQ(write(s[i][0], "4", 1), 1);
		u = receive(s[i][1], &byte);
		EQ(u.pid, getpid());
	}
	return pass();
}
