/* Message queues with a name: descriptors with their flags, messages in their order. */
#include "../guest.h"
#include <mqueue.h>
int main(void)
{
	char name[64];
	snprintf(name, sizeof name, "/guest-mq-%d", (int)getpid());
	struct mq_attr attr = { .mq_maxmsg = 6, .mq_msgsize = 100 };
	mqd_t q = OK(mq_open(name, O_CREAT | O_EXCL | O_RDWR, 0620, &attr));
	mqd_t r = OK(mq_open(name, O_RDONLY | O_NONBLOCK)), w = OK(mq_open(name, O_WRONLY));
	int copy = OK(dup(w));
	OK(mq_send(q, "low", 3, 1));
	OK(mq_send(w, "high", 4, 30));
	OK(mq_send(w, "", 0, 30));
	checkpoint();
	char text[100];
	unsigned prio;
	CHECK(same_description(w, copy));
	EQ(mq_receive(r, text, 100, &prio), 4);
	EQ(prio, 30);
	CHECK(!memcmp(text, "high", 4));
	EQ(mq_receive(q, text, 100, &prio), 0);
	EQ(mq_receive(r, text, 100, &prio), 3);
	ERR(mq_receive(r, text, 100, &prio), EAGAIN);
	ERR(mq_send(r, "x", 1, 0), EBADF);
	ERR(mq_receive(w, text, 100, NULL), EBADF);
	struct mq_attr now;
	OK(mq_getattr(r, &now));
	EQ(now.mq_flags, O_NONBLOCK);
	EQ(now.mq_maxmsg, 6);
	EQ(now.mq_msgsize, 100);
	OK(mq_getattr(q, &now));
	EQ(now.mq_flags, 0);
	OK(mq_unlink(name));
	return pass();
}
