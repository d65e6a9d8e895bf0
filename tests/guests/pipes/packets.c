/* Packet mode: each read gives one packet, whatever room there is. */
#include "../guest.h"
int main(void)
{
	char buf[8192], big[4096];
	int p[2];
	OK(pipe2(p, O_DIRECT));
	fill(big, sizeof big, 4);
	EQ(write(p[1], "one", 3), 3);
	EQ(write(p[1], big, sizeof big), sizeof big);
	EQ(write(p[1], "three", 5), 5);
	checkpoint();
	CHECK(fcntl(p[1], F_GETFL) & O_DIRECT);
	EQ(read(p[0], buf, sizeof buf), 3);
	EQ(read(p[0], buf, sizeof buf), sizeof big);
	CHECK(!memcmp(buf, big, sizeof big));
	EQ(read(p[0], buf, 2), 2); /* the rest of a packet is lost */
	EQ(write(p[1], "four", 4), 4);
	EQ(read(p[0], buf, sizeof buf), 4);
	return pass();
}
