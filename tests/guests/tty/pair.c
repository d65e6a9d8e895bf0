/* A pty pair of one process: data in both directions, termios, window size. */
#include "../guest.h"
#include <pty.h>
#include <termios.h>
int main(void)
{
	int m, s;
	char buf[64] = "";
	OK(openpty(&m, &s, NULL, NULL, NULL));
	struct termios t, u;
	OK(tcgetattr(s, &t));
	cfmakeraw(&t);
	t.c_cc[VMIN] = 3;
	t.c_cc[VINTR] = 7;
	cfsetspeed(&t, B9600);
	OK(tcsetattr(s, TCSANOW, &t));
	struct winsize w = { 33, 77, 5, 6 }, x;
	OK(ioctl(m, TIOCSWINSZ, &w));
	checkpoint();
	OK(tcgetattr(s, &u));
	EQ(u.c_iflag, t.c_iflag);
	EQ(u.c_oflag, t.c_oflag);
	EQ(u.c_cflag, t.c_cflag);
	EQ(u.c_lflag, t.c_lflag);
	CHECK(!memcmp(u.c_cc, t.c_cc, sizeof u.c_cc));
	OK(ioctl(s, TIOCGWINSZ, &x));
	CHECK(!memcmp(&w, &x, sizeof w));
	EQ(write(m, "to slave", 8), 8);
	EQ(read(s, buf, 64), 8);
	CHECK(!memcmp(buf, "to slave", 8));
	EQ(write(s, "to master", 9), 9);
	EQ(read(m, buf, 64), 9);
	CHECK(!memcmp(buf, "to master", 9));
	unsigned n;
	OK(ioctl(m, TIOCGPTN, &n));
	struct stat a, b;
	char path[32];
	snprintf(path, sizeof path, "/dev/pts/%u", n);
	OK(stat(path, &a));
	OK(fstat(s, &b));
	EQ(a.st_rdev, b.st_rdev);
	return pass();
}
