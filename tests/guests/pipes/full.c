/* A pipe of another size, full to the last byte. */
#include "../guest.h"
#define SIZE (256 << 10)
int main(void)
{
	static char want[SIZE], got[SIZE];
	int p[2], q[2];
	OK(pipe2(p, O_NONBLOCK));
	EQ(fcntl(p[1], F_SETPIPE_SZ, SIZE), SIZE);
	fill(want, SIZE, 8);
	EQ(write(p[1], want, SIZE), SIZE);
	ERR(write(p[1], "x", 1), EAGAIN);
	OK(pipe(q));
	EQ(fcntl(q[1], F_SETPIPE_SZ, 4096), 4096);
	checkpoint();
	EQ(fcntl(p[0], F_GETPIPE_SZ), SIZE);
	EQ(fcntl(q[0], F_GETPIPE_SZ), 4096);
	ERR(write(p[1], "x", 1), EAGAIN);
	for (int n = 0; n < SIZE;)
		n += OK(read(p[0], got + n, SIZE - n));
	CHECK(!memcmp(got, want, SIZE));
	ERR(read(p[0], got, 1), EAGAIN);
	return pass();
}
