/* A pipe with bytes in it, partly read, written in pieces. */
#include "../guest.h"
int main(void)
{
	char buf[20000], want[20000];
	int p[2];
	OK(pipe(p));
	fill(want, sizeof want, 1);
	for (int i = 0; i < 20; i++)
		EQ(write(p[1], want + i * 1000, 1000), 1000);
	EQ(read(p[0], buf, 1500), 1500);
	checkpoint();
	int n = 0;
	OK(ioctl(p[0], FIONREAD, &n));
	EQ(n, 18500);
	EQ(write(p[1], "tail", 4), 4);
	EQ(read(p[0], buf, sizeof buf), 18504);
	CHECK(!memcmp(buf, want + 1500, 18500));
	CHECK(!memcmp(buf + 18500, "tail", 4));
	close(p[1]);
	EQ(read(p[0], buf, 1), 0);
	return pass();
}
