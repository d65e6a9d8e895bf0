/* A group that an epoll watches, one whose descriptor travels in a socket, and a thread that waits in read(2). */
#include "../notify.h"
#include <pthread.h>
#include <sys/epoll.h>
static int waited_on, waited_wd;
static volatile bool runs;
static void *waits(void *arg)
{
	(void)arg;
	struct inotify_event e;
	runs = true;
	EQ(read(waited_on, &e, sizeof e), sizeof e);
	EQ(e.wd, waited_wd);
	EQ(e.mask, IN_ATTRIB);
	return NULL;
}
int main(void)
{
	touch("f");
	touch("g");
	touch("h");
	int polled = OK(inotify_init1(0)), travels = OK(inotify_init1(IN_NONBLOCK)), pair[2];
	int f = OK(inotify_add_watch(polled, "f", IN_ATTRIB));
	int g = OK(inotify_add_watch(travels, "g", IN_ATTRIB));
	waited_on = OK(inotify_init1(0));
	waited_wd = OK(inotify_add_watch(waited_on, "h", IN_ATTRIB));
	int epoll = OK(epoll_create1(0));
	struct epoll_event e = { EPOLLIN, { .u64 = 77 } };
	OK(epoll_ctl(epoll, EPOLL_CTL_ADD, polled, &e));
	OK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	char byte = 'x', room[CMSG_SPACE(sizeof(int))];
	struct iovec io = { &byte, 1 };
	struct msghdr msg = { .msg_iov = &io, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof room };
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
	*c = (struct cmsghdr){ .cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS };
	memcpy(CMSG_DATA(c), &travels, sizeof(int));
	EQ(sendmsg(pair[0], &msg, 0), 1);
	OK(close(travels));
	pthread_t thread;
	EQ(pthread_create(&thread, NULL, waits, NULL), 0);
	while (!runs)
		usleep(100);
	checkpoint();
	EQ(epoll_wait(epoll, &e, 1, 0), 0);
	OK(chmod("f", 0640));
	EQ(epoll_wait(epoll, &e, 1, 5000), 1);
	EQ(e.data.u64, 77);
	OK(chmod("h", 0640));
	EQ(pthread_join(thread, NULL), 0);
	EVENT(polled, f, IN_ATTRIB, "");
	msg.msg_controllen = sizeof room;
	EQ(recvmsg(pair[1], &msg, 0), 1);
	memcpy(&travels, CMSG_DATA(CMSG_FIRSTHDR(&msg)), sizeof(int));
	quiet(travels);
	OK(chmod("g", 0640));
	EVENT(travels, g, IN_ATTRIB, "");
	return pass();
}
