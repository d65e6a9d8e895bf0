/* A deleted file that nobody has open: it travels in the queue of a socket. */
#include "../files.h"
int main(void)
{
	int s[2], fd = made("f", O_RDWR, 0600, "on its way");
	union { struct cmsghdr head; char room[CMSG_SPACE(sizeof(int))]; } c = {0};
	char byte = 'x';
	struct iovec io = {&byte, 1};
	struct msghdr m = {.msg_iov = &io, .msg_iovlen = 1, .msg_control = &c, .msg_controllen = sizeof c};
	OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
	EQ(lseek(fd, 3, SEEK_SET), 3);
	c.head = (struct cmsghdr){CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS};
	memcpy(CMSG_DATA(&c.head), &fd, sizeof fd);
	EQ(sendmsg(s[0], &m, 0), 1);
	close(fd);
	OK(unlink("f"));
	checkpoint();
	m.msg_controllen = sizeof c;
	EQ(recvmsg(s[1], &m, 0), 1);
	memcpy(&fd, CMSG_DATA(&c.head), sizeof fd);
	holds(fd, "on its way");
	EQ(lseek(fd, 0, SEEK_CUR), 3);
	EQ(stat_of(fd).st_nlink, 0);
	return pass();
}
