/* POSIX record locks of two processes on one file. */
#include "../guest.h"
static struct flock range(int type, off_t start, off_t len)
{
	return (struct flock){ .l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = len };
}
int main(void)
{
	int fd = OK(open("f", O_CREAT | O_RDWR, 0600));
	struct flock a = range(F_WRLCK, 10, 20), b = range(F_RDLCK, 100, 0), c = range(F_WRLCK, 50, 5);
	OK(fcntl(fd, F_SETLK, &a));
	OK(fcntl(fd, F_SETLK, &b));
	struct latch l = latch_new();
	pid_t me = getpid(), kid = OK(fork());
	if (!kid) {
		OK(fcntl(fd, F_SETLK, &c));
		latch_open(l);
		wait_go();
		struct flock q = range(F_RDLCK, 0, 15);
		OK(fcntl(fd, F_GETLK, &q));
		EQ(q.l_type, F_WRLCK);
		EQ(q.l_start, 10);
		EQ(q.l_len, 20);
		EQ(q.l_pid, me);
		q = range(F_WRLCK, 1000, 1);
		OK(fcntl(fd, F_GETLK, &q));
		EQ(q.l_type, F_RDLCK);
		EQ(q.l_start, 100);
		EQ(q.l_len, 0);
		q = range(F_RDLCK, 1000, 1);
		OK(fcntl(fd, F_GETLK, &q));
		EQ(q.l_type, F_UNLCK);
		_exit(0);
	}
	latch_wait(l);
	checkpoint();
	struct flock q = range(F_RDLCK, 40, 20);
	if (fcntl(fd, F_GETLK, &q) == 0 && q.l_type != F_UNLCK) { /* unless the child has ended by now */
		EQ(q.l_start, 50);
		EQ(q.l_len, 5);
		EQ(q.l_pid, kid);
	}
	reap_ok(kid);
	return pass();
}
