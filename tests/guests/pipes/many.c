/* Three hundred pipes, each with its own content. */
#include "../guest.h"
#define N 300
int main(void)
{
	static int p[N][2];
	char buf[32], want[32];
	struct rlimit r = { 2000, 2000 };
	OK(setrlimit(RLIMIT_NOFILE, &r));
	for (int i = 0; i < N; i++) {
		OK(pipe(p[i]));
		int n = snprintf(want, sizeof want, "pipe %d", i);
		EQ(write(p[i][1], want, n), n);
	}
	checkpoint();
	for (int i = 0; i < N; i++) {
		int n = snprintf(want, sizeof want, "pipe %d", i);
		EQ(read(p[i][0], buf, sizeof buf), n);
		CHECK(!memcmp(buf, want, n));
	}
	return pass();
}
