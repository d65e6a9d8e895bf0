/* Queues whose name is gone are carried with their messages, shared by two processes; one is full, one empty. */
#include "../guest.h"
#include <mqueue.h>
int main(void)
{
	char name[64];
	snprintf(name, sizeof name, "/guest-mq-%d", (int)getpid());
	struct mq_attr attr = { .mq_maxmsg = 4, .mq_msgsize = 8192 };
	mqd_t full = OK(mq_open(name, O_CREAT | O_EXCL | O_RDWR | O_NONBLOCK, 0600, &attr));
	OK(fchmod(full, 0642));
	OK(fchown(full, 11, 12));
	OK(mq_unlink(name));
	mqd_t empty = OK(mq_open(name, O_CREAT | O_EXCL | O_RDWR, 0600, &attr));
	OK(mq_unlink(name));
	static char big[8192];
	memset(big, 'b', sizeof big);
	OK(mq_send(full, "second", 6, 5));
	OK(mq_send(full, "third", 5, 5));
	OK(mq_send(full, big, sizeof big, 9));
	OK(mq_send(full, "last", 4, 0));
	ERR(mq_send(full, "more", 4, 0), EAGAIN);
	struct latch l = latch_new();
	pid_t child = OK(fork());
	if (!child) {
		latch_open(l);
		/* Sleeps in the call. */
		char text[8192];
		EQ(mq_receive(empty, text, sizeof text, NULL), 2);
		_exit(0);
	}
	latch_wait(l);
	checkpoint();
	static char text[8192];
	unsigned prio;
	struct stat st;
	OK(fstat(full, &st));
	EQ(st.st_mode & 07777, 0642);
	EQ(st.st_uid, 11);
	EQ(st.st_gid, 12);
	EQ(st.st_nlink, 0);
	EQ(mq_receive(full, text, sizeof text, &prio), 8192);
	EQ(prio, 9);
	CHECK(!memcmp(text, big, 8192));
	EQ(mq_receive(full, text, sizeof text, &prio), 6);
	EQ(mq_receive(full, text, sizeof text, &prio), 5);
	CHECK(!memcmp(text, "third", 5));
	EQ(mq_receive(full, text, sizeof text, &prio), 4);
	ERR(mq_receive(full, text, sizeof text, &prio), EAGAIN);
	OK(mq_send(empty, "go", 2, 0));
	reap_ok(child);
	return pass();
}
