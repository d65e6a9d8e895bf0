/* Line mode: several lines, ^D alone and after text, an unfinished line that is still edited; echo switched off. */
#include "../guest.h"
#include <pty.h>
#include <termios.h>
static void line(int s, const char *wanted)
{
	char buf[64] = "";
	struct pollfd p = { s, POLLIN, 0 };
	EQ(poll(&p, 1, 10000), 1);
	EQ(read(s, buf, sizeof buf - 1), strlen(wanted));
	STR_EQ(buf, wanted);
}
int main(void)
{
	int m, s;
	struct termios t;
	OK(openpty(&m, &s, NULL, NULL, NULL));
	OK(tcgetattr(s, &t));
	t.c_lflag &= ~ECHO;
	t.c_cc[VEOL] = ';';
	OK(tcsetattr(s, TCSANOW, &t));
	OK(fcntl(s, F_SETFL, O_NONBLOCK));
	OK(fcntl(m, F_SETFL, O_NONBLOCK));
	static const char typed[] = "one\ntwo;three\004\004unfinished";
	EQ(write(m, typed, sizeof typed - 1), sizeof typed - 1);
	struct pollfd p = { s, POLLIN, 0 };
	EQ(poll(&p, 1, 10000), 1);
	usleep(20000); /* all of it is there */
	checkpoint();
	char buf[64];
	line(s, "one\n");
	line(s, "two;");
	line(s, "three");
	EQ(read(s, buf, 64), 0); /* the end of file */
	ERR(read(s, buf, 64), EAGAIN);
	EQ(write(m, "\177\177\177!\n", 5), 5); /* the unfinished line is still edited */
	line(s, "unfinis!\n");
	ERR(read(m, buf, 64), EAGAIN); /* no echo */
	return pass();
}
