/* A deleted file that was sent to a process of another session, which is not its parent's descendant's heir. */
#include "../files.h"
static void send_fd(int s, int fd)
{
	union { struct cmsghdr head; char room[CMSG_SPACE(sizeof(int))]; } c = {0};
	struct iovec io = {"x", 1};
	struct msghdr m = {.msg_iov = &io, .msg_iovlen = 1, .msg_control = &c, .msg_controllen = sizeof c};
	c.head = (struct cmsghdr){CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS};
	memcpy(CMSG_DATA(&c.head), &fd, sizeof fd);
	EQ(sendmsg(s, &m, 0), 1);
}
static int receive_fd(int s)
{
	union { struct cmsghdr head; char room[CMSG_SPACE(sizeof(int))]; } c = {0};
	char byte;
	int fd;
	struct iovec io = {&byte, 1};
	struct msghdr m = {.msg_iov = &io, .msg_iovlen = 1, .msg_control = &c, .msg_controllen = sizeof c};
	EQ(recvmsg(s, &m, 0), 1);
	memcpy(&fd, CMSG_DATA(&c.head), sizeof fd);
	return fd;
}
int main(void)
{
	int s[2];
	OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
	struct latch l = latch_new(), l2 = latch_new();
	pid_t one = OK(fork());
	if (!one) {
		int fd = made("f", O_RDWR, 0600, "passed on"), named = made("g", O_RDWR, 0600, "with a name");
		OK(unlink("f"));
		EQ(lseek(fd, 2, SEEK_SET), 2);
		send_fd(s[0], fd);
		send_fd(s[0], named);
		close(s[0]), close(s[1]);
		latch_open(l);
		wait_go();
		while (lseek(fd, 0, SEEK_CUR) != 4) /* moved by the other */
			sched_yield();
		EQ(lseek(fd, 6, SEEK_SET), 6);
		while (lseek(named, 0, SEEK_CUR) != 0)
			sched_yield();
		_exit(0);
	}
	pid_t two = OK(fork());
	if (!two) {
		OK(setsid());
		int fd = receive_fd(s[1]), named = receive_fd(s[1]);
		close(s[0]), close(s[1]);
		latch_open(l2);
		wait_go();
		holds(fd, "passed on");
		EQ(stat_of(fd).st_nlink, 0);
		is_at(named, "g");
		EQ(lseek(fd, 2, SEEK_CUR), 4);
		while (lseek(fd, 0, SEEK_CUR) != 6)
			sched_yield();
		EQ(lseek(named, 0, SEEK_SET), 0);
		_exit(0);
	}
	close(s[0]), close(s[1]);
	latch_wait(l);
	latch_wait(l2);
	checkpoint();
	reap_ok(one);
	reap_ok(two);
	return pass();
}
