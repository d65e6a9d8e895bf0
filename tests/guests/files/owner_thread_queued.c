/* A file whose signals go to a thread that is not the first, and that nobody has open: it is in a queue. */
#include "../guest.h"
#include <pthread.h>
static int go[2];
static volatile pid_t tid;
static void *other(void *unused)
{
	char byte;
	(void)unused;
	tid = gettid();
	while (read(go[0], &byte, 1) < 0)
		;
	return NULL;
}
int main(void)
{
	pthread_t thread;
	int s[2], ends[2], got = -1;
	union { struct cmsghdr head; char room[CMSG_SPACE(sizeof(int))]; } c = {0};
	char byte = 'x';
	struct iovec io = {&byte, 1};
	struct msghdr m = {.msg_iov = &io, .msg_iovlen = 1, .msg_control = &c, .msg_controllen = sizeof c};
	OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
	OK(pipe(ends));
	OK(pipe(go));
	EQ(pthread_create(&thread, NULL, other, NULL), 0);
	while (!tid)
		sched_yield();
	struct f_owner_ex owner = {F_OWNER_TID, tid}, now;
	OK(fcntl(ends[0], F_SETOWN_EX, &owner));
	c.head = (struct cmsghdr){CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS};
	memcpy(CMSG_DATA(&c.head), &ends[0], sizeof(int));
	EQ(sendmsg(s[1], &m, 0), 1);
	close(ends[0]);
	checkpoint();
	EQ(recvmsg(s[0], &m, 0), 1);
	memcpy(&got, CMSG_DATA(&c.head), sizeof got);
	OK(fcntl(got, F_GETOWN_EX, &now));
	EQ(now.type, F_OWNER_TID);
	EQ(now.pid, tid);
	EQ(write(go[1], "x", 1), 1);
	EQ(pthread_join(thread, NULL), 0);
	return pass();
}
