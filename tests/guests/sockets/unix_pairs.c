/* Socket pairs of the three types with data in both directions. */
#include "../guest.h"
int main(void)
{
	static const int types[] = { SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET };
	int s[3][2], n;
	char buf[64];
	for (int i = 0; i < 3; i++) {
		OK(socketpair(AF_UNIX, types[i] | (i == 1 ? SOCK_NONBLOCK : 0), 0, s[i]));
		EQ(write(s[i][0], "one", 3), 3);
		EQ(write(s[i][0], "three", 5), 5);
		EQ(write(s[i][1], "back", 4), 4);
	}
	EQ(read(s[0][1], buf, 1), 1); /* partly read */
	checkpoint();
	OK(ioctl(s[0][1], FIONREAD, &n));
	EQ(n, 7);
	EQ(read(s[0][1], buf, 64), 7);
	CHECK(!memcmp(buf, "nethree", 7));
	for (int i = 1; i < 3; i++) {
		EQ(read(s[i][1], buf, 64), 3);
		EQ(read(s[i][1], buf, 64), 5);
		CHECK(!memcmp(buf, "three", 5));
	}
	for (int i = 0; i < 3; i++) {
		EQ(read(s[i][0], buf, 64), 4);
		EQ(write(s[i][1], "again", 5), 5);
		EQ(read(s[i][0], buf, 64), 5);
	}
	ERR(read(s[1][0], buf, 1), EAGAIN);
	close(s[0][1]);
	EQ(read(s[0][0], buf, 1), 0);
	return pass();
}
