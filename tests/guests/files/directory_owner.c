/* A directory whose descriptor has an owner (F_SETOWN) and no more: nobody waits for its changes. */
#include "../guest.h"
int main(void)
{
	int fd = OK(open(".", O_RDONLY | O_DIRECTORY)), group = OK(open(".", O_RDONLY | O_DIRECTORY));
	OK(fcntl(fd, F_SETOWN, getpid()));
	OK(fcntl(group, F_SETOWN, -getpgrp()));
	checkpoint();
	struct f_owner_ex ex;
	OK(fcntl(fd, F_GETOWN_EX, &ex));
	EQ(ex.type, F_OWNER_PID);
	EQ(ex.pid, getpid());
	EQ(fcntl(fd, F_GETSIG), 0);
	EQ(fcntl(group, F_GETOWN), -getpgrp());
	return pass();
}
