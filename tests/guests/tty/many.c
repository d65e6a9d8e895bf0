/* Ten pairs whose masters and slaves are in different processes. */
#include "../guest.h"
#include <pty.h>
#include <termios.h>
int main(void)
{
	int m[10], s[10];
	for (int i = 0; i < 10; i++) {
		struct winsize w = { 10 + i, 20 + i, 0, 0 };
		OK(openpty(&m[i], &s[i], NULL, NULL, &w));
	}
	struct latch l = latch_new();
	pid_t kid = OK(fork());
	if (!kid) {
		for (int i = 0; i < 10; i++)
			close(m[i]);
		latch_open(l);
		wait_go();
		for (int i = 0; i < 10; i++) {
			char text[8];
			struct winsize w;
			OK(ioctl(s[i], TIOCGWINSZ, &w));
			EQ(w.ws_row, 10 + i);
			int n = snprintf(text, sizeof text, "%d\n", i);
			EQ(write(s[i], text, n), n);
		}
		_exit(0);
	}
	for (int i = 0; i < 10; i++)
		close(s[i]);
	latch_wait(l);
	checkpoint();
	for (int i = 0; i < 10; i++) {
		char buf[8] = "";
		EQ(read(m[i], buf, 8), 3); /* with the carriage return */
		EQ(atoi(buf), i);
	}
	reap_ok(kid);
	return pass();
}
