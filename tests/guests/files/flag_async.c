/* O_ASYNC as open(2) has noted it: fcntl(2) could not set it on a regular file. */
#include "../guest.h"
int main(void)
{
	int fd = OK(open("file", O_CREAT | O_RDWR | O_ASYNC, 0600));
	int flags = OK(fcntl(fd, F_GETFL));
	CHECK(flags & O_ASYNC);
	checkpoint();
	EQ(fcntl(fd, F_GETFL), flags);
	return pass();
}
