/* A directory whose descriptor has an owner that could take its signals, saved because it is said to wait for none. */
#include "../guest.h"
static void handler(int signal)
{
	(void)signal;
}
int main(void)
{
	int fd = OK(open(".", O_RDONLY | O_DIRECTORY));
	signal(SIGIO, handler);
	OK(fcntl(fd, F_SETOWN, getpid()));
	OK(fcntl(fd, F_SETSIG, SIGRTMIN + 3));
	checkpoint();
	EQ(fcntl(fd, F_GETOWN), getpid());
	EQ(fcntl(fd, F_GETSIG), SIGRTMIN + 3);
	return pass();
}
