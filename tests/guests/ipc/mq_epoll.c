/* A queue in an epoll set, and one whose notification is another process's business. */
#include "../guest.h"
#include <mqueue.h>
#include <sys/epoll.h>
int main(void)
{
	char name[64];
	snprintf(name, sizeof name, "/guest-mq-%d", (int)getpid());
	struct mq_attr attr = { .mq_maxmsg = 2, .mq_msgsize = 10 };
	mqd_t q = OK(mq_open(name, O_CREAT | O_EXCL | O_RDWR, 0600, &attr));
	int ep = OK(epoll_create1(0));
	struct epoll_event ev = { .events = EPOLLIN, .data.u64 = 42 };
	OK(epoll_ctl(ep, EPOLL_CTL_ADD, q, &ev));
	checkpoint();
	EQ(epoll_wait(ep, &ev, 1, 0), 0);
	OK(mq_send(q, "m", 1, 0));
	EQ(epoll_wait(ep, &ev, 1, 1000), 1);
	EQ(ev.data.u64, 42);
	/* A registration can be made. */
	struct sigevent none = { .sigev_notify = SIGEV_NONE };
	OK(mq_notify(q, &none));
	OK(mq_unlink(name));
	return pass();
}
