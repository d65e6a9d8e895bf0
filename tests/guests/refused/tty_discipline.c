/* A terminal with another line discipline than the usual one: refused by name. */
#include "../guest.h"
#include <pty.h>
int main(void)
{
	int m, s, n = 27; /* N_NULL */
	OK(openpty(&m, &s, NULL, NULL, NULL));
	if (ioctl(s, TIOCSETD, &n))
		SKIP("no line discipline but the usual one: %s", strerror(errno));
	checkpoint();
	OK(ioctl(s, TIOCGETD, &n));
	EQ(n, 27);
	return pass();
}
