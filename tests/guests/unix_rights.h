/* Descriptors that travel in the queues of unix sockets. */
#include "unix.h"
static inline void send_right(int sock, const char *text, int fd)
{
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(sizeof(int))];
	} control = {.head = {CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS}};
	struct iovec io = {(void *)text, strlen(text)};
	struct msghdr m = {.msg_iov = &io, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
	memcpy(CMSG_DATA(&control.head), &fd, sizeof fd);
	EQ(sendmsg(sock, &m, 0), strlen(text));
}
static inline int recv_right(int sock, const char *text)
{
	int fd = -1;
	char buf[64];
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(sizeof(int))];
	} control = {0};
	struct iovec io = {buf, sizeof buf};
	struct msghdr m = {.msg_iov = &io, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
	EQ(recvmsg(sock, &m, MSG_DONTWAIT), strlen(text));
	CHECK(!memcmp(buf, text, strlen(text)));
	EQ(control.head.cmsg_type, SCM_RIGHTS);
	memcpy(&fd, CMSG_DATA(&control.head), sizeof fd);
	return fd;
}
