/* A datagram socket that is connected to itself, with a datagram in its queue. */
#include "../unix.h"
int main(void)
{
	char buf[8] = "";
	int fd = OK(socket(AF_UNIX, SOCK_DGRAM, 0));
	un_bind(fd, "self");
	OK(un_connect(fd, "self"));
	EQ(write(fd, "one", 3), 3);
	checkpoint();
	EQ(read(fd, buf, 8), 3);
	STR_EQ(buf, "one");
	EQ(write(fd, "two", 3), 3);
	EQ(read(fd, buf, 8), 3);
	STR_EQ(buf, "two");
	return pass();
}
