/* A quoted end of line that waits in a terminal: the images would say that there are two lines. */
#include "../guest.h"
#include <pty.h>
int main(void)
{
	int master, slave;
	char buf[16];
	OK(openpty(&master, &slave, NULL, NULL, NULL));
	EQ(write(master, "a\x16\nb\n", 5), 5);
	checkpoint();
	EQ(read(slave, buf, sizeof buf), 4);
	EQ(memcmp(buf, "a\nb\n", 4), 0);
	return pass();
}
