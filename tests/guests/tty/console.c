/* Consoles of the machine: a virtual one opened twice, with settings of its own; and /dev/console, whatever is behind it. */
#include "../guest.h"
#include <termios.h>
static const char vt[] = "/dev/tty62";
int main(void)
{
	struct stat st;
	int fd[2] = { open(vt, O_RDWR | O_NOCTTY), -1 };
	if (fd[0] < 0)
		SKIP("no virtual consoles: %s: %s", vt, strerror(errno));
	fd[1] = OK(open(vt, O_WRONLY | O_NOCTTY | O_NONBLOCK));
	int console = open("/dev/console", O_RDWR | O_NOCTTY);
	/* Static: what is between their fields must be the same too. */
	static struct termios t, was, of_console, now;
	OK(tcgetattr(fd[0], &was));
	t = was;
	t.c_lflag ^= ECHO | ICANON;
	t.c_cc[VINTR] = 7;
	OK(tcsetattr(fd[0], TCSANOW, &t));
	if (console >= 0)
		OK(tcgetattr(console, &of_console));
	checkpoint();
	for (int i = 0; i < 2; i++) {
		OK(fstat(fd[i], &st));
		EQ(st.st_rdev, 4 << 8 | 62);
		OK(tcgetattr(fd[i], &now));
		EQ(memcmp(&now, &t, sizeof t), 0);
	}
	EQ(fcntl(fd[0], F_GETFL) & (O_ACCMODE | O_NONBLOCK), O_RDWR);
	EQ(fcntl(fd[1], F_GETFL) & (O_ACCMODE | O_NONBLOCK), O_WRONLY | O_NONBLOCK);
	if (console >= 0) {
		OK(fstat(console, &st));
		EQ(st.st_rdev, 5 << 8 | 1);
		OK(tcgetattr(console, &now));
		EQ(memcmp(&now, &of_console, sizeof now), 0);
	}
	OK(tcsetattr(fd[0], TCSANOW, &was));
	return pass();
}
