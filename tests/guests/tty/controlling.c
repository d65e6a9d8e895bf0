/* A session with a controlling terminal: foreground group, a background child, ^C reaches the right ones. */
#include "../guest.h"
#include <pty.h>
#include <termios.h>
static volatile int got;
static void interrupted(int s) { got = s; }
int main(void)
{
	int m, s;
	OK(openpty(&m, &s, NULL, NULL, NULL));
	struct latch l = latch_new();
	pid_t leader = OK(fork());
	if (!leader) {
		close(m);
		OK(setsid());
		OK(ioctl(s, TIOCSCTTY, 0));
		signal(SIGTTOU, SIG_IGN);
		struct latch f = latch_new();
		pid_t fg = OK(fork());
		if (!fg) {
			OK(setpgid(0, 0));
			OK(tcsetpgrp(s, getpid()));
			struct sigaction sa = { .sa_handler = interrupted };
			sigset_t block, old;
			sigemptyset(&block);
			sigaddset(&block, SIGINT);
			sigprocmask(SIG_BLOCK, &block, &old);
			OK(sigaction(SIGINT, &sa, NULL));
			int tty = OK(open("/dev/tty", O_RDWR));
			latch_open(f);
			while (!got)
				sigsuspend(&old);
			EQ(tcgetpgrp(tty), getpid());
			EQ(write(tty, "fg", 2), 2);
			_exit(0);
		}
		latch_wait(f);
		latch_open(l);
		wait_go();
		EQ(tcgetsid(s), getpid());
		EQ(tcgetpgrp(s), fg);
		int tty = OK(open("/dev/tty", O_RDWR));
		close(tty);
		reap_ok(fg);
		_exit(got);
	}
	latch_wait(l);
	checkpoint();
	pid_t group = 0;
	OK(ioctl(m, TIOCGPGRP, &group));
	CHECK(group > 0 && group != leader);
	EQ(write(m, "\003", 1), 1); /* ^C */
	reap_ok(leader);
	char buf[64] = "";
	OK(read(m, buf, 63));
	CHECK(strstr(buf, "^C") || strstr(buf, "fg"));
	return pass();
}
