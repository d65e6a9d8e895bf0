/* Output stopped by tcflow(3) and by ^S, with text that had been written before, and a master whose output is stopped. */
#include "../guest.h"
#include <pty.h>
#include <termios.h>
static void open_pair(int *m, int *s)
{
	OK(openpty(m, s, NULL, NULL, NULL));
	OK(fcntl(*s, F_SETFL, O_NONBLOCK));
	OK(fcntl(*m, F_SETFL, O_NONBLOCK));
}
static void arrives(int fd, const char *text)
{
	char buf[64] = "";
	size_t got = 0;
	while (got < strlen(text)) {
		struct pollfd p = { fd, POLLIN, 0 };
		EQ(poll(&p, 1, 10000), 1);
		got += OK(read(fd, buf + got, sizeof buf - 1 - got));
	}
	STR_EQ(buf, text);
}
int main(void)
{
	int m, s, km, ks, hm, hs;
	open_pair(&m, &s);
	EQ(write(s, "before", 6), 6);
	OK(tcflow(s, TCOOFF));
	open_pair(&km, &ks);
	EQ(write(ks, "key", 3), 3);
	EQ(write(km, "\023", 1), 1);
	struct pollfd p = { ks, POLLOUT, 0 };
	while (poll(&p, 1, 0) == 1)
		usleep(100);
	open_pair(&hm, &hs);
	OK(tcflow(hm, TCOOFF));
	checkpoint();
	ERR(write(s, "x", 1), EAGAIN);
	ERR(write(ks, "x", 1), EAGAIN);
	ERR(write(hm, "x", 1), EAGAIN);
	arrives(m, "before");
	arrives(km, "key");
	/* ^Q does not start what tcflow has stopped, nor tcflow what ^S has. */
	EQ(write(m, "\021", 1), 1);
	EQ(write(m, "typed\n", 6), 6);
	arrives(s, "typed\n");
	ERR(write(s, "x", 1), EAGAIN);
	OK(tcflow(ks, TCOON));
	ERR(write(ks, "x", 1), EAGAIN);
	OK(tcflow(s, TCOON));
	EQ(write(km, "\021", 1), 1);
	p.fd = ks;
	EQ(poll(&p, 1, 10000), 1);
	EQ(write(ks, "after", 5), 5);
	arrives(km, "after");
	OK(tcflow(hm, TCOON));
	EQ(write(hm, "x\n", 2), 2);
	arrives(hs, "x\n");
	return pass();
}
