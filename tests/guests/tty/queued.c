/* What is under way: typed lines, an unfinished one, unread output, last words of a closed slave, a hung-up slave. */
#include "../guest.h"
#include <poll.h>
#include <pty.h>
#include <termios.h>
/* What was written passes the terminal in pieces: one read(2) may bring only the first. */
static int all_of(int fd, char *to, int wanted)
{
	int got = 0;
	while (got < wanted) {
		int more = read(fd, to + got, wanted - got);
		if (more <= 0)
			break;
		got += more;
	}
	return got;
}
int main(void)
{
	int m, s, raw, rs, last, ls, gone, gs;
	char buf[64];
	OK(openpty(&m, &s, NULL, NULL, NULL));
	EQ(write(m, "one\ntw", 6), 6); /* echoed */
	struct pollfd typed = { s, POLLIN, 0 };
	EQ(poll(&typed, 1, 10000), 1);
	EQ(write(s, "out\n", 4), 4);
	OK(openpty(&raw, &rs, NULL, NULL, NULL));
	struct termios t;
	OK(tcgetattr(rs, &t));
	cfmakeraw(&t);
	OK(tcsetattr(rs, TCSANOW, &t));
	EQ(write(raw, "\003\r\000\377", 4), 4);
	OK(openpty(&last, &ls, NULL, NULL, NULL));
	EQ(write(ls, "bye", 3), 3);
	close(ls);
	OK(openpty(&gone, &gs, NULL, NULL, NULL));
	close(gone);
	checkpoint();
	EQ(all_of(m, buf, 12), 12);
	CHECK(!memcmp(buf, "one\r\ntwout\r\n", 12));
	OK(fcntl(s, F_SETFL, O_NONBLOCK));
	EQ(read(s, buf, 64), 4);
	CHECK(!memcmp(buf, "one\n", 4));
	ERR(read(s, buf, 64), EAGAIN);
	EQ(write(m, "o\n", 2), 2);
	struct pollfd p = { s, POLLIN, 0 };
	EQ(poll(&p, 1, 10000), 1);
	EQ(read(s, buf, 64), 4);
	CHECK(!memcmp(buf, "two\n", 4));
	EQ(all_of(rs, buf, 4), 4);
	CHECK(!memcmp(buf, "\003\r\000\377", 4));
	EQ(all_of(last, buf, 3), 3);
	CHECK(!memcmp(buf, "bye", 3));
	ERR(read(last, buf, 64), EIO);
	EQ(read(gs, buf, 64), 0);
	ERR(write(gs, "x", 1), EIO);
	return pass();
}
