/* Status flags of both ends, duplicates, a slave opened twice, packet mode, exclusive mode. */
#include "../guest.h"
#include <pty.h>
#include <termios.h>
int main(void)
{
	int m, s, packet, ps, excl, es, v = 0;
	char name[64], buf[8];
	OK(openpty(&m, &s, name, NULL, NULL));
	int again = OK(open(name, O_RDWR | O_NOCTTY | O_NONBLOCK)), twin = OK(dup(s));
	OK(fcntl(m, F_SETFL, O_NONBLOCK));
	OK(fcntl(m, F_SETFD, FD_CLOEXEC));
	OK(openpty(&packet, &ps, NULL, NULL, NULL));
	OK(ioctl(packet, TIOCPKT, (int[]){ 1 }));
	OK(openpty(&excl, &es, NULL, NULL, NULL));
	OK(ioctl(es, TIOCEXCL));
	checkpoint();
	ERR(read(m, buf, 8), EAGAIN);
	EQ(fcntl(m, F_GETFD), FD_CLOEXEC);
	CHECK(fcntl(again, F_GETFL) & O_NONBLOCK);
	CHECK(!(fcntl(s, F_GETFL) & O_NONBLOCK));
	CHECK(same_description(s, twin));
	CHECK(!same_description(s, again));
	OK(ioctl(packet, TIOCGPKT, &v));
	EQ(v, 1);
	EQ(write(ps, "p", 1), 1);
	EQ(read(packet, buf, 8), 2);
	EQ(buf[0], 0);
	EQ(buf[1], 'p');
	OK(ioctl(es, TIOCGEXCL, &v));
	EQ(v, 1);
	return pass();
}
