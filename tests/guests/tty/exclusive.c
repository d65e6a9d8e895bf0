/* Exclusive mode, set by either end, with slaves that had been opened before. */
#include "../guest.h"
#include <pty.h>
int main(void)
{
	int m, s, mm, ms, v;
	char name[64];
	OK(openpty(&m, &s, name, NULL, NULL));
	int before = OK(open(name, O_RDWR | O_NOCTTY));
	OK(chmod(name, 0666));
	OK(ioctl(s, TIOCEXCL));
	OK(openpty(&mm, &ms, NULL, NULL, NULL));
	OK(ioctl(mm, TIOCEXCL));
	checkpoint();
	OK(ioctl(before, TIOCGEXCL, &v));
	EQ(v, 1);
	OK(ioctl(m, TIOCGEXCL, &v));
	EQ(v, 0);
	OK(ioctl(mm, TIOCGEXCL, &v));
	EQ(v, 1);
	OK(ioctl(ms, TIOCGEXCL, &v));
	EQ(v, 0);
	pid_t kid = OK(fork());
	if (!kid) {
		OK(setuid(1000));
		ERR(open(name, O_RDWR | O_NOCTTY), EBUSY);
		_exit(0);
	}
	int status;
	OK(waitpid(kid, &status, 0));
	CHECK(WIFEXITED(status));
	OK(ioctl(s, TIOCNXCL));
	return pass();
}
