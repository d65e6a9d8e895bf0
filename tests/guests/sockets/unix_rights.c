/* Descriptors in flight: a pipe end, a file that nobody else holds, a socket with a queue of its own. */
#include "../guest.h"
static void send_fd(int sock, const char *text, int a, int b)
{
	char control[CMSG_SPACE(2 * sizeof(int))] = { 0 };
	struct iovec v = { (void *)text, strlen(text) };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = control,
			    .msg_controllen = CMSG_SPACE((b < 0 ? 1 : 2) * sizeof(int)) };
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN((b < 0 ? 1 : 2) * sizeof(int));
	((int *)CMSG_DATA(c))[0] = a;
	if (b >= 0)
		((int *)CMSG_DATA(c))[1] = b;
	EQ(sendmsg(sock, &m, 0), strlen(text));
}
static int recv_fd(int sock, const char *text, int *fds)
{
	char control[CMSG_SPACE(4 * sizeof(int))], buf[64];
	struct iovec v = { buf, sizeof buf };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control };
	EQ(recvmsg(sock, &m, 0), strlen(text));
	CHECK(!memcmp(buf, text, strlen(text)));
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);
	if (!c)
		return 0;
	int n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
	memcpy(fds, CMSG_DATA(c), n * sizeof(int));
	return n;
}
int main(void)
{
	int s[2], p[2], in[2], fds[4];
	char buf[16] = "";
	OK(socketpair(AF_UNIX, SOCK_DGRAM, 0, s));
	OK(pipe(p));
	int file = OK(open("f", O_CREAT | O_RDWR, 0600));
	EQ(write(file, "content", 7), 7);
	EQ(lseek(file, 3, SEEK_SET), 3);
	OK(socketpair(AF_UNIX, SOCK_STREAM, 0, in));
	EQ(write(in[0], "inside", 6), 6);
	send_fd(s[0], "first", p[0], file);
	EQ(write(s[0], "plain", 5), 5);
	send_fd(s[0], "second", in[1], -1);
	close(p[0]), close(file), close(in[1]);
	checkpoint();
	EQ(recv_fd(s[1], "first", fds), 2);
	EQ(write(p[1], "pipe", 4), 4);
	EQ(read(fds[0], buf, 16), 4);
	EQ(lseek(fds[1], 0, SEEK_CUR), 3);
	memset(buf, 0, sizeof buf);
	EQ(read(fds[1], buf, 16), 4);
	STR_EQ(buf, "tent");
	EQ(recv_fd(s[1], "plain", fds), 0);
	EQ(recv_fd(s[1], "second", fds), 1);
	EQ(read(fds[0], buf, 16), 6);
	EQ(write(fds[0], "out", 3), 3);
	EQ(read(in[0], buf, 16), 3);
	return pass();
}
