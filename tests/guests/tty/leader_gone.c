/* A session leader that has ended: its terminal controls nobody any more, and goes on working for those who are left. */
#include "../guest.h"
#include <pty.h>
#include <termios.h>
int main(void)
{
	int m, s;
	char text[8] = "";
	OK(openpty(&m, &s, NULL, NULL, NULL));
	struct latch l = latch_new();
	OK(prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0));
	pid_t leader = OK(fork());
	if (!leader) {
		close(m);
		OK(setsid());
		OK(ioctl(s, TIOCSCTTY, 0));
		struct latch k = latch_new();
		pid_t begun = getpid(), left = OK(fork());
		if (!left) {
			signal(SIGHUP, SIG_IGN);
			latch_open(k);
			while (getppid() == begun)
				usleep(100);
			latch_open(l);
			wait_go();
			ERR(open("/dev/tty", O_RDWR), ENXIO);
			ERR(tcgetsid(s), ENOTTY);
			EQ(getsid(0), begun);
			EQ(read(s, text, 7), 5);
			STR_EQ(text, "line\n");
			EQ(write(s, "left", 4), 4);
			_exit(7);
		}
		latch_wait(k);
		_exit(0);
	}
	int status;
	EQ(waitpid(leader, &status, 0), leader);
	EQ(status, 0);
	close(s);
	latch_wait(l);
	checkpoint();
	pid_t sid;
	ERR(ioctl(m, TIOCGSID, &sid), ENOTTY);
	EQ(write(m, "line\n", 5), 5);
	EQ(waitpid(-1, &status, 0) > 0, 1);
	EQ(WEXITSTATUS(status), 7);
	EQ(read(m, text, 6), 6);
	CHECK(!memcmp(text, "line\r\n", 6));
	EQ(read(m, text, 7), 4);
	ERR(read(m, text, 7), EIO);
	return pass();
}
