/* A netlink socket at two numbers and in a child, with an owner; and one that travels in the queue of another socket. */
#include "../netlink.h"
int main(void)
{
	int fd = nl_socket(SOCK_RAW, NETLINK_ROUTE), pair[2];
	nl_bind(fd, 0, 0);
	unsigned port = nl_name(fd).nl_pid;
	int copy = OK(dup(fd));
	OK(fcntl(fd, F_SETOWN, getpid()));
	OK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	int travels = nl_socket(SOCK_RAW, NETLINK_ROUTE);
	nl_bind(travels, 0, 0);
	unsigned other = nl_name(travels).nl_pid;
	char byte = 'x';
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(sizeof(int))];
	} control = {.head = {CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS}};
	struct iovec io = {&byte, 1};
	struct msghdr m = {.msg_iov = &io, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
	memcpy(CMSG_DATA(&control.head), &travels, sizeof travels);
	EQ(sendmsg(pair[0], &m, 0), 1);
	close(travels);
	pid_t child = OK(fork());
	if (!child) {
		wait_go();
		EQ(nl_name(fd).nl_pid, port);
		_exit(0);
	}
	checkpoint();
	CHECK(same_description(fd, copy));
	EQ(fcntl(copy, F_GETOWN), getpid());
	EQ(nl_name(copy).nl_pid, port);
	EQ(recvmsg(pair[1], &m, 0), 1);
	memcpy(&travels, CMSG_DATA(&control.head), sizeof travels);
	EQ(nl_name(travels).nl_pid, other);
	reap_ok(child);
	nl_ask(fd);
	return pass();
}
