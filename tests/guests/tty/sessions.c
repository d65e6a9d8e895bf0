/* Three sessions, each with its terminal, a group in the background and one in front; a terminal opened without it. */
#include "../guest.h"
#include <pty.h>
#include <termios.h>
static volatile sig_atomic_t hits;
static void hit(int s) { hits++; }
int main(void)
{
	int m[3], s[3], plain_m, plain_s;
	char name[64];
	pid_t leader[3];
	OK(openpty(&plain_m, &plain_s, name, NULL, NULL));
	for (int i = 0; i < 3; i++) {
		OK(openpty(&m[i], &s[i], NULL, NULL, NULL));
		struct latch l = latch_new();
		leader[i] = OK(fork());
		if (!leader[i]) {
			OK(setsid());
			OK(ioctl(s[i], TIOCSCTTY, 0));
			int other = OK(open(name, O_RDWR | O_NOCTTY));
			signal(SIGTTOU, SIG_IGN);
			signal(SIGINT, hit);
			struct latch k = latch_new();
			pid_t front = OK(fork());
			if (!front) {
				OK(setpgid(0, 0));
				OK(tcsetpgrp(s[i], getpid()));
				sigset_t block, old;
				sigemptyset(&block);
				sigaddset(&block, SIGINT);
				OK(sigprocmask(SIG_BLOCK, &block, &old));
				latch_open(k);
				while (!hits)
					sigsuspend(&old);
				EQ(tcgetpgrp(s[i]), getpid());
				_exit(0);
			}
			latch_wait(k);
			latch_open(l);
			wait_go();
			EQ(tcgetsid(s[i]), getpid());
			EQ(tcgetpgrp(s[i]), front);
			ERR(tcgetsid(other), ENOTTY);
			reap_ok(front);
			EQ(hits, 0); /* the leader is in the background */
			_exit(0);
		}
		latch_wait(l);
	}
	checkpoint();
	for (int i = 0; i < 3; i++) {
		pid_t sid = 0;
		OK(ioctl(m[i], TIOCGSID, &sid));
		EQ(sid, leader[i]);
		EQ(write(m[i], "\003", 1), 1);
		reap_ok(leader[i]);
	}
	return pass();
}
