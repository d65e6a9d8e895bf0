/* Packet mode with a status that nobody has read yet: flushed, stopped, started, other flow control; and text after it. */
#include "../guest.h"
#include <pty.h>
#include <termios.h>
static void open_pair(int *m, int *s)
{
	OK(openpty(m, s, NULL, NULL, NULL));
	OK(fcntl(*m, F_SETFL, O_NONBLOCK));
	OK(ioctl(*m, TIOCPKT, (int[]){ 1 }));
}
static void status(int m, int wanted)
{
	unsigned char c[8] = { 0 };
	struct pollfd p = { m, POLLIN | POLLPRI, 0 };
	EQ(poll(&p, 1, 0), 1);
	CHECK(p.revents & POLLPRI);
	EQ(read(m, c, sizeof c), 1);
	EQ(c[0], wanted);
}
static void text(int m, const char *wanted)
{
	char c[64] = "";
	struct pollfd p = { m, POLLIN, 0 };
	EQ(poll(&p, 1, 10000), 1);
	EQ(read(m, c, sizeof c - 1), 1 + strlen(wanted));
	EQ(c[0], 0);
	STR_EQ(c + 1, wanted);
}
int main(void)
{
	int m[7], s[7];
	char c;
	struct termios t;
	for (int i = 0; i < 7; i++)
		open_pair(&m[i], &s[i]);
	OK(tcflush(s[0], TCIOFLUSH));
	OK(tcflow(s[1], TCOOFF));
	OK(tcflow(s[2], TCOOFF));
	OK(tcflow(s[2], TCOON));
	EQ(write(s[2], "text", 4), 4);
	OK(tcgetattr(s[3], &t));
	t.c_iflag &= ~IXON;
	OK(tcsetattr(s[3], TCSANOW, &t));
	OK(tcsetattr(s[4], TCSANOW, &t));
	EQ(read(m[4], &c, 1), 1);
	t.c_iflag |= IXON;
	OK(tcsetattr(s[4], TCSANOW, &t));
	EQ(write(m[5], "line\n", 5), 5);
	struct pollfd p = { s[5], POLLIN, 0 };
	EQ(poll(&p, 1, 10000), 1);
	OK(tcflow(s[6], TCOOFF));
	EQ(read(m[6], &c, 1), 1); /* stopped, and the reader knows */
	checkpoint();
	status(m[0], TIOCPKT_FLUSHREAD | TIOCPKT_FLUSHWRITE);
	status(m[1], TIOCPKT_STOP);
	status(m[2], TIOCPKT_START);
	text(m[2], "text");
	status(m[3], TIOCPKT_NOSTOP);
	status(m[4], TIOCPKT_DOSTOP);
	text(m[5], "line\r\n"); /* the echo */
	char line[8];
	EQ(read(s[5], line, 8), 5);
	for (int i = 0; i < 7; i++)
		ERR(read(m[i], &c, 1), EAGAIN);
	OK(fcntl(s[6], F_SETFL, O_NONBLOCK));
	ERR(write(s[6], "x", 1), EAGAIN);
	OK(tcflow(s[6], TCOON));
	status(m[6], TIOCPKT_START);
	OK(tcgetattr(s[4], &t));
	CHECK(t.c_iflag & IXON);
	return pass();
}
