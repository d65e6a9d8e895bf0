/* A lock on a file that nobody has open: it is in the queue of a socket. */
#include "../guest.h"
#include <sys/file.h>
int main(void)
{
	int s[2], fd = OK(open("f", O_CREAT | O_RDWR, 0600));
	union { struct cmsghdr head; char room[CMSG_SPACE(sizeof(int))]; } c = {0};
	char byte = 'x';
	struct iovec io = {&byte, 1};
	struct msghdr m = {.msg_iov = &io, .msg_iovlen = 1, .msg_control = &c, .msg_controllen = sizeof c};
	OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
	OK(flock(fd, LOCK_EX));
	c.head = (struct cmsghdr){CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS};
	memcpy(CMSG_DATA(&c.head), &fd, sizeof fd);
	EQ(sendmsg(s[0], &m, 0), 1);
	close(fd);
	checkpoint();
	int other = OK(open("f", O_RDWR));
	ERR(flock(other, LOCK_SH | LOCK_NB), EWOULDBLOCK);
	return pass();
}
