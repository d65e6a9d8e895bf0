/* Descriptors on their way: pipes with a number inside travel between two processes. */
#include "../motion.h"
static void pass_on(int s, int fd, uint64_t number)
{
	union {
		struct cmsghdr h;
		char room[CMSG_SPACE(sizeof(int))];
	} control = { .h = { .cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS } };
	memcpy(CMSG_DATA(&control.h), &fd, sizeof fd);
	struct iovec v = { &number, 8 };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control };
	ssize_t n;
	while ((n = sendmsg(s, &m, 0)) < 0 && errno == EINTR)
		;
	EQ(n, 8);
}
static int fetch(int s, uint64_t *number)
{
	union {
		struct cmsghdr h;
		char room[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec v = { number, 8 };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control };
	ssize_t n;
	while ((n = recvmsg(s, &m, MSG_CMSG_CLOEXEC)) < 0 && errno == EINTR)
		;
	if (!n)
		return -1;
	EQ(n, 8);
	int fd;
	EQ(m.msg_controllen, CMSG_SPACE(sizeof(int)));
	memcpy(&fd, CMSG_DATA(&control.h), sizeof fd);
	return fd;
}
int main(void)
{
	int s[2];
	motion_begin();
	OK(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, s));
	pid_t kid = CHILD(
		close(s[0]);
		uint64_t i;
		for (i = 0; moving(); i++) {
			int p[2];
			OK(pipe2(p, O_CLOEXEC));
			EQ(write(p[1], &i, 8), 8);
			close(p[1]);
			pass_on(s[1], p[0], i);
			close(p[0]);
			step();
		}
		close(s[1]);
		_exit(i ? 0 : 1));
	close(s[1]);
	in_motion();
	uint64_t number, inside, expected = 0;
	int fd;
	while ((fd = fetch(s[0], &number)) >= 0) {
		EQ(number, expected++);
		EQ(read(fd, &inside, 8), 8);
		EQ(inside, number);
		EQ(read(fd, &inside, 8), 0);
		close(fd);
	}
	reap_ok(kid);
	EQ(dup(s[0]), s[0] + 1); /* nothing was left open */
	return pass();
}
