/* A serial line of the machine, opened twice, with settings and a window size of its own. */
#include "../guest.h"
#include <termios.h>
static const char *const names[] = { "/dev/ttyS0", "/dev/ttyUSB0", "/dev/ttyACM0", "/dev/ttyAMA0", "/dev/hvc0" };
int main(void)
{
	int fd[2] = { -1, -1 };
	const char *name = names[0];
	struct stat before, st;
	struct winsize size = { .ws_row = 33, .ws_col = 77 }, had, has;
	/* Static: what is between their fields must be the same too. */
	static struct termios t, was, now_;
	for (size_t i = 0; i < sizeof names / sizeof *names && fd[0] < 0; i++) {
		name = names[i];
		fd[0] = open(name, O_RDWR | O_NOCTTY | O_NONBLOCK);
		/* A port without a device behind it opens, too. */
		if (fd[0] >= 0 && tcgetattr(fd[0], &was)) {
			close(fd[0]);
			fd[0] = -1;
		}
	}
	if (fd[0] < 0)
		SKIP("no serial line that works: %s", strerror(errno));
	fd[1] = OK(open(name, O_WRONLY | O_NOCTTY | O_NONBLOCK));
	OK(fcntl(fd[0], F_SETFL, 0));
	OK(fstat(fd[0], &before));
	OK(ioctl(fd[0], TIOCGWINSZ, &had));
	t = was;
	t.c_lflag ^= ECHO | ICANON;
	t.c_cflag |= CLOCAL;
	t.c_cc[VINTR] = 7;
	OK(tcsetattr(fd[0], TCSANOW, &t));
	OK(tcgetattr(fd[0], &t));
	OK(ioctl(fd[0], TIOCSWINSZ, &size));
	checkpoint();
	for (int i = 0; i < 2; i++) {
		OK(fstat(fd[i], &st));
		EQ(st.st_rdev, before.st_rdev);
		OK(tcgetattr(fd[i], &now_));
		EQ(memcmp(&now_, &t, sizeof t), 0);
		OK(ioctl(fd[i], TIOCGWINSZ, &has));
		EQ(memcmp(&has, &size, sizeof size), 0);
	}
	EQ(fcntl(fd[0], F_GETFL) & (O_ACCMODE | O_NONBLOCK), O_RDWR);
	EQ(fcntl(fd[1], F_GETFL) & (O_ACCMODE | O_NONBLOCK), O_WRONLY | O_NONBLOCK);
	OK(tcsetattr(fd[0], TCSANOW, &was));
	OK(ioctl(fd[0], TIOCSWINSZ, &had));
	return pass();
}
