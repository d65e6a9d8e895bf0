/* Owners of files for signals: a child, a group of another session, the first thread, one who set it as another
 * user, a file in two processes, an owner that is dead. */
#include "../files.h"
int main(void)
{
	int f[6], p[2];
	struct f_owner_ex ex;
	uint32_t ids[2];
	for (int i = 0; i < 6; i++)
		f[i] = OK(open("f", O_CREAT | O_RDWR, 0666));
	OK(pipe(p));
	struct latch l = latch_new(), l2 = latch_new();
	pid_t kid = OK(fork());
	if (!kid) {
		OK(setsid());
		OK(setresuid(77, 88, 0));
		OK(fcntl(f[3], F_SETOWN, getpid()));
		OK(setresuid(0, 0, 0));
		latch_open(l);
		wait_go();
		OK(fcntl(f[4], F_GETOWN_EX, &ex));
		EQ(ex.pid, getppid());
		_exit(0);
	}
	pid_t gone = OK(fork());
	if (!gone) {
		OK(fcntl(f[5], F_SETSIG, SIGUSR2));
		OK(fcntl(f[5], F_SETOWN, getpid()));
		latch_open(l2);
		_exit(0);
	}
	latch_wait(l);
	latch_wait(l2);
	reap_ok(gone);
	OK(fcntl(f[0], F_SETOWN, kid));
	OK(fcntl(f[1], F_SETOWN, -kid));
	OK(fcntl(f[2], F_SETOWN_EX, &((struct f_owner_ex){F_OWNER_TID, getpid()})));
	OK(fcntl(f[4], F_SETOWN, getpid()));
	OK(fcntl(f[4], F_SETSIG, SIGRTMAX));
	OK(fcntl(p[0], F_SETOWN, -getpgrp()));
	checkpoint();
	OK(fcntl(f[0], F_GETOWN_EX, &ex));
	EQ(ex.type, F_OWNER_PID);
	EQ(ex.pid, kid);
	OK(fcntl(f[1], F_GETOWN_EX, &ex));
	EQ(ex.type, F_OWNER_PGRP);
	EQ(ex.pid, kid);
	OK(fcntl(f[2], F_GETOWN_EX, &ex));
	EQ(ex.type, F_OWNER_TID);
	EQ(ex.pid, getpid());
	OK(fcntl(f[3], 17 /* F_GETOWNER_UIDS */, ids));
	EQ(ids[0], 77);
	EQ(ids[1], 88);
	EQ(fcntl(f[4], F_GETSIG), SIGRTMAX);
	EQ(fcntl(f[5], F_GETSIG), SIGUSR2);
	EQ(fcntl(f[5], F_GETOWN), 0);
	OK(fcntl(p[0], F_GETOWN_EX, &ex));
	EQ(ex.type, F_OWNER_PGRP);
	EQ(ex.pid, getpgrp());
	EQ(fcntl(p[1], F_GETOWN), 0);
	reap_ok(kid);
	return pass();
}
