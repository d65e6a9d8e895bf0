/* A file system in the making. */
#include "../guest.h"
int main(void)
{
	int fd = syscall(SYS_fsopen, "tmpfs", 0);
	if (fd < 0)
		SKIP("fsopen: %s", strerror(errno));
	EQ(fd, 3);
	checkpoint();
	OK(fcntl(fd, F_GETFD));
	return pass();
}
