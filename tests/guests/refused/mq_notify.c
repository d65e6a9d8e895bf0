/* A message queue with a registered notification. */
#include "../guest.h"
#include <mqueue.h>
int main(void)
{
	char name[64];
	snprintf(name, sizeof name, "/guest-mq-%d", (int)getpid());
	struct mq_attr attr = { .mq_maxmsg = 2, .mq_msgsize = 10 };
	mqd_t q = OK(mq_open(name, O_CREAT | O_EXCL | O_RDWR, 0600, &attr));
	OK(mq_unlink(name));
	struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1 };
	sigset_t usr1;
	sigemptyset(&usr1);
	sigaddset(&usr1, SIGUSR1);
	sigprocmask(SIG_BLOCK, &usr1, NULL);
	OK(mq_notify(q, &event));
	checkpoint();
	OK(mq_send(q, "x", 1, 0));
	int signal;
	EQ(sigwait(&usr1, &signal), 0);
	EQ(signal, SIGUSR1);
	return pass();
}
