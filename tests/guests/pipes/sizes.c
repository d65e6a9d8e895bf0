/* Buffers of every size: the smallest, the usual, the largest that any user may have, each empty, half full, full. */
#include "../guest.h"
static const int sizes[] = {4096, 8192, 65536, 131072, 1 << 20};
#define N 5
int main(void)
{
	int p[N][3][2];
	static char block[1 << 20], got[1 << 20];
	fill(block, sizeof block, 11);
	for (int i = 0; i < N; i++)
		for (int k = 0; k < 3; k++) {
			OK(pipe2(p[i][k], O_NONBLOCK));
			EQ(fcntl(p[i][k][1], F_SETPIPE_SZ, sizes[i]), sizes[i]);
			int n = k * sizes[i] / 2;
			if (n)
				EQ(write(p[i][k][1], block, n), n);
		}
	checkpoint();
	for (int i = 0; i < N; i++)
		for (int k = 0; k < 3; k++) {
			int n = k * sizes[i] / 2, left = -1;
			EQ(fcntl(p[i][k][0], F_GETPIPE_SZ), sizes[i]);
			OK(ioctl(p[i][k][0], FIONREAD, &left));
			EQ(left, n);
			if (k == 2)
				ERR(write(p[i][k][1], "x", 1), EAGAIN);
			int done = 0;
			while (done < n)
				done += OK(read(p[i][k][0], got + done, n - done));
			CHECK(!memcmp(got, block, n));
			ERR(read(p[i][k][0], got, 1), EAGAIN);
		}
	return pass();
}
