/* A connection that is itself in flight, in the queue of a unix socket. */
#include "../inet.h"
int main(void)
{
	int l = listener(AF_INET, 4), c, s, pair[2];
	char buf[16], control[CMSG_SPACE(sizeof(int))];
	tcp_pair(AF_INET, l, &c, &s);
	write_all(c, "on its way", 10);
	OK(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair));
	struct iovec v = { "x", 1 };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control };
	struct cmsghdr *h = CMSG_FIRSTHDR(&m);
	*h = (struct cmsghdr){ .cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS };
	memcpy(CMSG_DATA(h), &s, sizeof s);
	EQ(sendmsg(pair[0], &m, 0), 1);
	close(s);
	checkpoint();
	v.iov_base = buf;
	m.msg_controllen = sizeof control;
	EQ(recvmsg(pair[1], &m, 0), 1);
	memcpy(&s, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof s);
	read_all(s, buf, 10);
	EQ(memcmp(buf, "on its way", 10), 0);
	talk(c, s);
	return pass();
}
