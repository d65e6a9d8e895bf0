/* Ends of one pair in several processes under several numbers: by fork, by dup, by a socket; one of them in its queue. */
#include "../guest.h"
#include <pty.h>
#include <termios.h>
static void give(int s, int fd)
{
	union {
		struct cmsghdr h;
		char room[CMSG_SPACE(sizeof(int))];
	} control = { .h = { .cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS } };
	memcpy(CMSG_DATA(&control.h), &fd, sizeof fd);
	struct iovec v = { "f", 1 };
	struct msghdr h = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control };
	EQ(sendmsg(s, &h, 0), 1);
}
static int take(int s)
{
	union {
		struct cmsghdr h;
		char room[CMSG_SPACE(sizeof(int))];
	} control;
	char c;
	struct iovec v = { &c, 1 };
	struct msghdr h = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control };
	EQ(recvmsg(s, &h, 0), 1);
	int fd;
	memcpy(&fd, CMSG_DATA(&control.h), sizeof fd);
	return fd;
}
int main(void)
{
	int m, s, box[2], bell[2];
	OK(openpty(&m, &s, NULL, NULL, NULL));
	OK(socketpair(AF_UNIX, SOCK_STREAM, 0, box));
	OK(socketpair(AF_UNIX, SOCK_STREAM, 0, bell));
	struct latch l = latch_new();
	pid_t kid = OK(fork());
	if (!kid) {
		OK(dup2(m, 50));
		close(m);
		close(s);
		int sent = take(box[1]);
		OK(dup2(sent, 60));
		close(sent);
		latch_open(l);
		wait_go();
		/* The same description: its flags are those that the parent has set. */
		char c;
		EQ(read(bell[1], &c, 1), 1);
		EQ(fcntl(60, F_GETFL) & O_NONBLOCK, O_NONBLOCK);
		EQ(write(60, "kid", 3), 3);
		ERR(read(60, &c, 1), EAGAIN);
		_exit(0);
	}
	give(box[0], s);
	latch_wait(l);
	give(box[0], m); /* stays in the queue */
	give(box[0], s);
	close(s);
	checkpoint();
	int queued_m = take(box[1]), queued_s = take(box[1]);
	CHECK(same_description(queued_m, m));
	OK(fcntl(queued_s, F_SETFL, O_NONBLOCK));
	EQ(write(bell[0], "!", 1), 1);
	char text[8] = "";
	struct pollfd p = { m, POLLIN, 0 };
	EQ(poll(&p, 1, 10000), 1);
	EQ(read(m, text, 7), 3);
	STR_EQ(text, "kid");
	reap_ok(kid);
	return pass();
}
