/* Every slot of a pipe taken by one byte written with a page of its own (packet mode), then no slot is free. */
#include "../guest.h"
int main(void)
{
	char c;
	int p[2], n = 0;
	OK(pipe2(p, O_DIRECT | O_NONBLOCK));
	for (c = 'a'; write(p[1], &c, 1) == 1; c = 'a' + ++n % 26)
		;
	int why = errno;
	EQ(why, EAGAIN);
	CHECK(n >= 16);
	checkpoint();
	ERR(write(p[1], "x", 1), EAGAIN);
	for (int i = 0; i < n; i++) {
		char buf[8];
		EQ(read(p[0], buf, sizeof buf), 1);
		EQ(buf[0], 'a' + i % 26);
	}
	ERR(read(p[0], &c, 1), EAGAIN);
	return pass();
}
