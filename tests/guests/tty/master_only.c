/* A master whose slave nobody holds: locked, unlocked, and one whose slave was closed again. */
#include "../guest.h"
#include <pty.h>
int main(void)
{
	int locked = OK(open("/dev/ptmx", O_RDWR | O_NOCTTY)), open_ = OK(posix_openpt(O_RDWR | O_NOCTTY)), hung = OK(posix_openpt(O_RDWR | O_NOCTTY)), v;
	OK(grantpt(open_));
	OK(unlockpt(open_));
	OK(unlockpt(hung));
	close(OK(open(ptsname(hung), O_RDWR | O_NOCTTY)));
	checkpoint();
	OK(ioctl(locked, TIOCGPTLCK, &v));
	EQ(v, 1);
	OK(ioctl(open_, TIOCGPTLCK, &v));
	EQ(v, 0);
	int s = OK(open(ptsname(open_), O_RDWR | O_NOCTTY));
	EQ(write(s, "x", 1), 1);
	char c;
	EQ(read(open_, &c, 1), 1);
	ERR(open(ptsname(locked), O_RDWR | O_NOCTTY), EIO);
	return pass();
}
