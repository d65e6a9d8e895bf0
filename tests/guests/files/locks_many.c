/* A few hundred record locks of several processes on one file. */
#include "../files.h"
#define N 150
int main(void)
{
	int fd = made("f", O_RDWR, 0600, "");
	pid_t kids[2];
	struct latch l[2] = {latch_new(), latch_new()};
	for (int k = 0; k < 2; k++)
		if (!(kids[k] = OK(fork()))) {
			for (int i = 0; i < N; i++) {
				struct flock lock = {.l_type = i % 3 ? F_RDLCK : F_WRLCK, .l_whence = SEEK_SET, .l_start = i * 20 + k * 10, .l_len = 5};
				OK(fcntl(fd, F_SETLK, &lock));
			}
			latch_open(l[k]);
			pause();
			_exit(0);
		}
	latch_wait(l[0]), latch_wait(l[1]);
	checkpoint();
	for (int k = 0; k < 2; k++)
		for (int i = 0; i < N; i++) {
			struct flock q = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = i * 20 + k * 10 + 2, .l_len = 1};
			OK(fcntl(fd, F_GETLK, &q));
			EQ(q.l_type, i % 3 ? F_RDLCK : F_WRLCK);
			EQ(q.l_start, i * 20 + k * 10);
			EQ(q.l_len, 5);
			EQ(q.l_pid, kids[k]);
		}
	for (int k = 0; k < 2; k++) {
		OK(kill(kids[k], SIGKILL));
		OK(waitpid(kids[k], NULL, 0));
	}
	return pass();
}
