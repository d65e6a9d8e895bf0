/* Slaves that were hung up while the master lives: one alone, and one beside a slave that was opened afterwards. */
#include "../guest.h"
#include <pty.h>
#ifndef TIOCVHANGUP
#define TIOCVHANGUP 0x5437
#endif
int main(void)
{
	int m[2], s[2];
	char name[2][64], text[8] = "";
	for (int i = 0; i < 2; i++) {
		OK(openpty(&m[i], &s[i], name[i], NULL, NULL));
		OK(ioctl(s[i], TIOCVHANGUP));
		OK(fcntl(m[i], F_SETFL, O_NONBLOCK));
	}
	int again = OK(open(name[1], O_RDWR | O_NOCTTY));
	EQ(write(again, "new", 3), 3);
	checkpoint();
	for (int i = 0; i < 2; i++) {
		struct stat a, b;
		EQ(read(s[i], text, 1), 0);
		ERR(write(s[i], "x", 1), EIO);
		OK(stat(name[i], &a));
		OK(fstat(s[i], &b));
		EQ(a.st_ino, b.st_ino);
	}
	EQ(isatty(again), 1);
	struct pollfd p = { m[1], POLLIN, 0 };
	EQ(poll(&p, 1, 10000), 1);
	EQ(read(m[1], text, 7), 3);
	STR_EQ(text, "new");
	ERR(read(m[0], text, 1), EAGAIN);
	close(s[0]);
	ERR(read(m[0], text, 1), EIO);
	close(again);
	ERR(read(m[1], text, 1), EAGAIN); /* the one that has hung up is still open */
	close(s[1]);
	ERR(read(m[1], text, 1), EIO);
	return pass();
}
