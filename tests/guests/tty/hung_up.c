/* Slaves whose masters are closed, in a process and its child, blocking or not; poll says so. */
#include "../guest.h"
#include <pty.h>
static void check(int s, int flags)
{
	char c;
	EQ(read(s, &c, 1), 0);
	ERR(write(s, "x", 1), EIO);
	struct pollfd p = { s, POLLIN | POLLOUT, 0 };
	EQ(poll(&p, 1, 0), 1);
	CHECK(p.revents & POLLHUP);
	EQ(fcntl(s, F_GETFL) & (O_NONBLOCK | O_ACCMODE), flags);
	ERR(ioctl(s, TIOCGWINSZ, &(struct winsize){ 0 }), EIO);
	EQ(isatty(s), 0);
}
int main(void)
{
	int m[2], s[2], other;
	char name[64];
	OK(openpty(&m[0], &s[0], name, NULL, NULL));
	other = OK(open(name, O_RDONLY | O_NOCTTY | O_NONBLOCK));
	OK(openpty(&m[1], &s[1], NULL, NULL, NULL));
	pid_t kid = OK(fork());
	if (!kid) {
		close(m[0]);
		close(m[1]);
		wait_go();
		check(s[0], O_RDWR);
		_exit(0);
	}
	/* The child has its copies of the masters for a moment. */
	close(m[0]);
	close(m[1]);
	for (int i = 0; i < 2; i++) {
		struct pollfd p = { s[i], POLLIN, 0 };
		EQ(poll(&p, 1, 10000), 1);
	}
	checkpoint();
	check(s[0], O_RDWR);
	check(s[1], O_RDWR);
	EQ(fcntl(other, F_GETFL) & (O_NONBLOCK | O_ACCMODE), O_NONBLOCK | O_RDONLY);
	reap_ok(kid);
	return pass();
}
