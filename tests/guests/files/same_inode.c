/* One file opened two hundred times, in two processes, each description with an offset of its own. */
#include "../files.h"
#define N 100
int main(void)
{
	int fds[N];
	close(made("f", O_RDWR, 0600, "x"));
	for (int i = 0; i < N; i++) {
		fds[i] = OK(open("f", i % 3 ? O_RDWR : O_RDONLY));
		EQ(lseek(fds[i], i / 2, SEEK_SET), i / 2); /* pairs look alike */
	}
	struct latch l = latch_new();
	pid_t kid = OK(fork());
	if (!kid) {
		int own[N];
		for (int i = 0; i < N; i++) {
			own[i] = OK(open("f", O_RDWR));
			EQ(lseek(own[i], 1000 + i, SEEK_SET), 1000 + i);
		}
		latch_open(l);
		wait_go();
		for (int i = 0; i < N; i++)
			EQ(lseek(own[i], 0, SEEK_CUR), 1000 + i);
		EQ(lseek(fds[1], 5000, SEEK_SET), 5000); /* shared with the parent */
		_exit(0);
	}
	latch_wait(l);
	checkpoint();
	reap_ok(kid);
	EQ(lseek(fds[1], 0, SEEK_CUR), 5000);
	for (int i = 0; i < N; i++) {
		if (i != 1)
			EQ(lseek(fds[i], 0, SEEK_CUR), i / 2);
		if (i)
			CHECK(!same_description(fds[0], fds[i]));
	}
	return pass();
}
