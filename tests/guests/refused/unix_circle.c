/* A socket that travels in its own queue. */
#include "../unix.h"
int main(void)
{
	int p[2], got = -1;
	char byte = 'x';
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(sizeof(int))];
	} control = {0};
	struct iovec io = {&byte, 1};
	struct msghdr m = {.msg_iov = &io, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
	OK(socketpair(AF_UNIX, SOCK_STREAM, 0, p));
	control.head = (struct cmsghdr){CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS};
	memcpy(CMSG_DATA(&control.head), &p[1], sizeof(int));
	EQ(sendmsg(p[0], &m, 0), 1);
	checkpoint();
	EQ(recvmsg(p[1], &m, 0), 1);
	memcpy(&got, CMSG_DATA(&control.head), sizeof got);
	CHECK(fcntl(got, F_GETFD) >= 0);
	return pass();
}
