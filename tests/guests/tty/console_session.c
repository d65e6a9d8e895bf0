/* A session whose controlling terminal is a virtual console, with a group in the background and /dev/tty open. */
#include "../guest.h"
#include <termios.h>
static const char vt[] = "/dev/tty61";
int main(void)
{
	struct latch l = latch_new();
	int probe = open(vt, O_RDWR | O_NOCTTY);
	if (probe < 0)
		SKIP("no virtual consoles: %s: %s", vt, strerror(errno));
	close(probe);
	pid_t leader = OK(fork());
	if (!leader) {
		OK(setsid());
		int fd = OK(open(vt, O_RDWR));
		OK(ioctl(fd, TIOCSCTTY, 0));
		int own = OK(open("/dev/tty", O_RDWR));
		pid_t front = OK(fork());
		if (!front) {
			OK(setpgid(0, 0));
			pause();
		}
		OK(setpgid(front, front));
		OK(tcsetpgrp(fd, front));
		latch_open(l);
		wait_go();
		EQ(tcgetsid(fd), getpid());
		EQ(tcgetpgrp(fd), front);
		EQ(tcgetpgrp(own), front);
		OK(kill(front, SIGKILL));
		EQ(waitpid(front, NULL, 0), front);
		/* The end of the leader hangs the console up. */
		signal(SIGHUP, SIG_IGN);
		_exit(0);
	}
	latch_wait(l);
	checkpoint();
	reap_ok(leader);
	return pass();
}
