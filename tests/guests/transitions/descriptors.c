/* Two processes with one table of descriptors, in which both open, copy and close. */
#include "../motion.h"
static void work(uint32_t seed, int low)
{
	bool open_[40] = { 0 };
	while (moving()) {
		int i = next_random(&seed) % 40, fd = low + i;
		if (open_[i]) {
			OK(fcntl(fd, F_GETFD));
			OK(close(fd));
			open_[i] = false;
		} else {
			int p[2];
			char c = 0;
			switch (next_random(&seed) % 3) {
			case 0:
				p[0] = OK(open("/dev/null", O_RDWR));
				break;
			case 1:
				p[0] = OK(socket(AF_UNIX, SOCK_DGRAM, 0));
				break;
			default:
				OK(pipe(p));
				EQ(write(p[1], "x", 1), 1);
				EQ(read(p[0], &c, 1), 1);
				EQ(c, 'x');
				close(p[1]);
			}
			EQ(dup3(p[0], fd, i % 2 ? O_CLOEXEC : 0), fd);
			close(p[0]);
			EQ(fcntl(fd, F_GETFD), i % 2);
			open_[i] = true;
		}
		step();
	}
	for (int i = 0; i < 40; i++)
		if (open_[i])
			OK(close(low + i));
}
static char stack[65536] __attribute__((aligned(16)));
static int other(void *arg)
{
	work(77, 300);
	_exit(0);
}
int main(void)
{
	motion_begin();
	pid_t kid = OK(clone(other, stack + sizeof stack, CLONE_FILES | SIGCHLD, NULL));
	in_motion();
	work(99, 200);
	reap_ok(kid);
	EQ(OK(dup(0)), 3); /* all numbers are free again */
	return pass();
}
