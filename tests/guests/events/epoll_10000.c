/* Ten thousand targets in one set, of kinds that share an inode and of kinds that do not. */
#include "../guest.h"
#include <sys/epoll.h>
#include <sys/eventfd.h>
#define N 10000
int main(void)
{
	static int fd[N];
	struct rlimit r;
	OK(getrlimit(RLIMIT_NOFILE, &r));
	if (r.rlim_max < N + 100)
		SKIP("at most %lu descriptors are allowed", (unsigned long)r.rlim_max);
	r.rlim_cur = N + 100;
	OK(setrlimit(RLIMIT_NOFILE, &r));
	int e = OK(epoll_create1(0));
	for (int i = 0; i < N; i += 2) {
		int p[2];
		if (i % 10 == 0) {
			OK(pipe(p));
		} else {
			p[0] = OK(eventfd(0, EFD_NONBLOCK));
			p[1] = OK(eventfd(0, EFD_NONBLOCK));
		}
		for (int k = 0; k < 2; k++) {
			struct epoll_event x = { EPOLLIN, { .u64 = i + k } };
			fd[i + k] = p[k];
			OK(epoll_ctl(e, EPOLL_CTL_ADD, p[k], &x));
		}
	}
	checkpoint();
	static struct epoll_event got[N];
	EQ(epoll_wait(e, got, N, 0), 0);
	uint64_t one = 1;
	EQ(write(fd[9999], &one, 8), 8);
	EQ(write(fd[5001], "x", 1), 1);
	EQ(epoll_wait(e, got, N, 1000), 2);
	EQ(got[0].data.u64 + got[1].data.u64, 9999 + 5000);
	for (int i = 0; i < N; i++)
		OK(epoll_ctl(e, EPOLL_CTL_DEL, fd[i], NULL));
	return pass();
}
