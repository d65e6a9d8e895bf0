/* Pairs as full as the kernel lets them be, written in pieces of several sizes, in both directions. */
#include "../guest.h"
#include <pty.h>
#include <termios.h>
static size_t fill_up(int fd, size_t piece)
{
	char text[4096];
	size_t done = 0;
	for (int quiet = 0; quiet < 20;) {
		for (size_t i = 0; i < piece; i++)
			text[i] = (char)('a' + (done + i) % 23);
		ssize_t n = write(fd, text, piece);
		if (n > 0) {
			done += n;
			quiet = 0;
		} else {
			if (n < 0 && errno != EAGAIN)
				FAIL("write: %s", strerror(errno));
			quiet++;
			usleep(500); /* the kernel moves the first of it along */
		}
	}
	return done;
}
static void drain(int fd, size_t wanted, const char *what)
{
	char text[4096];
	size_t done = 0;
	struct pollfd p = { fd, POLLIN, 0 };
	while (done < wanted) {
		EQ(poll(&p, 1, 10000), 1);
		ssize_t n = OK(read(fd, text, sizeof text));
		for (ssize_t i = 0; i < n; i++)
			if (text[i] != (char)('a' + (done + i) % 23))
				FAIL("%s: byte %zu is %#x", what, done + i, text[i]);
		done += n;
	}
	ERR(read(fd, text, 1), EAGAIN);
}
int main(void)
{
	static const size_t pieces[4] = { 1, 100, 700, 4096 };
	int m[4], s[4];
	size_t up[4], down[4];
	for (int i = 0; i < 4; i++) {
		struct termios t;
		OK(openpty(&m[i], &s[i], NULL, NULL, NULL));
		OK(tcgetattr(s[i], &t));
		cfmakeraw(&t);
		OK(tcsetattr(s[i], TCSANOW, &t));
		OK(fcntl(s[i], F_SETFL, O_NONBLOCK));
		OK(fcntl(m[i], F_SETFL, O_NONBLOCK));
		up[i] = fill_up(s[i], pieces[i]);
		down[i] = fill_up(m[i], pieces[i]);
	}
	checkpoint();
	for (int i = 0; i < 4; i++) {
		drain(m[i], up[i], "the master");
		drain(s[i], down[i], "the slave");
	}
	return pass();
}
