/* A session whose leader and child hold the terminal by /dev/tty alone, its slave closed. */
#include "../guest.h"
#include <pty.h>
#include <termios.h>
int main(void)
{
	int m, s;
	char buf[64] = "";
	OK(openpty(&m, &s, NULL, NULL, NULL));
	struct latch l = latch_new();
	pid_t leader = OK(fork());
	if (!leader) {
		close(m);
		OK(setsid());
		OK(ioctl(s, TIOCSCTTY, 0));
		int tty = OK(open("/dev/tty", O_RDWR));
		close(s);
		pid_t kid = OK(fork());
		if (!kid) {
			latch_open(l);
			wait_go();
			EQ(tcgetsid(tty), getppid());
			close(OK(open("/dev/tty", O_RDWR)));
			EQ(write(tty, "kid", 3), 3);
			_exit(0);
		}
		wait_go();
		EQ(tcgetsid(tty), getpid());
		EQ(tcgetpgrp(tty), getpid());
		reap_ok(kid);
		_exit(0);
	}
	close(s);
	latch_wait(l);
	checkpoint();
	reap_ok(leader);
	EQ(read(m, buf, 63), 3);
	CHECK(!strcmp(buf, "kid"));
	return pass();
}
