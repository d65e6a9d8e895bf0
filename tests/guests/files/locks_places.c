/* Locks on what is no plain file with a name: a deleted file, a directory, a FIFO, a device, a file that is only read;
 * several kinds on one file; a description that several numbers and processes share. */
#include "../files.h"
#include <sys/file.h>
static int type_of(int fd, short type, off_t start, off_t len, int command)
{
	struct flock q = {.l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = len};
	OK(fcntl(fd, command, &q));
	return q.l_type;
}
static void lock(int fd, short type, off_t start, off_t len, int command)
{
	struct flock l = {.l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = len};
	OK(fcntl(fd, command, &l));
}
int main(void)
{
	int gone = made("gone", O_RDWR, 0600, "x"), gone2 = OK(open("gone", O_RDWR)), dir = OK(open(".", O_RDONLY | O_DIRECTORY)), all = made("all", O_RDWR, 0600, "x");
	OK(unlink("gone"));
	OK(mkfifo("fifo", 0600));
	int fifo = OK(open("fifo", O_RDWR)), read_only = OK(open("all", O_RDONLY)), other = OK(open("all", O_RDWR));
	OK(flock(gone, LOCK_EX));
	lock(gone2, F_WRLCK, 3, 4, F_SETLK);
	lock(gone2, F_RDLCK, 100, 0, F_OFD_SETLK);
	OK(flock(dir, LOCK_SH));
	OK(flock(fifo, LOCK_EX));
	lock(read_only, F_RDLCK, 5, 5, F_SETLK);
	lock(other, F_WRLCK, 20, 5, F_SETLK);
	lock(other, F_RDLCK, 21, 1, F_SETLK); /* splits the one before */
	lock(all, F_WRLCK, 1LL << 40, 1, F_OFD_SETLK);
	OK(flock(all, LOCK_SH));
	int twin = OK(dup2(all, 77));
	(void)twin;
	struct latch l = latch_new();
	pid_t kid = OK(fork());
	if (!kid) {
		close(all), close(other), close(read_only);
		latch_open(l);
		wait_go();
		OK(flock(77, LOCK_SH | LOCK_NB));
		int own = OK(open("all", O_RDWR));
		EQ(type_of(own, F_WRLCK, 5, 1, F_GETLK), F_RDLCK);
		EQ(type_of(own, F_RDLCK, 5, 1, F_GETLK), F_UNLCK);
		EQ(type_of(own, F_RDLCK, 20, 1, F_GETLK), F_WRLCK);
		EQ(type_of(own, F_RDLCK, 21, 1, F_GETLK), F_UNLCK);
		EQ(type_of(own, F_WRLCK, 21, 1, F_GETLK), F_RDLCK);
		EQ(type_of(own, F_RDLCK, 24, 1, F_GETLK), F_WRLCK);
		EQ(type_of(own, F_WRLCK, 25, 1000, F_GETLK), F_UNLCK);
		EQ(type_of(own, F_WRLCK, 1LL << 40, 1, F_OFD_GETLK), F_WRLCK);
		ERR(flock(own, LOCK_EX | LOCK_NB), EWOULDBLOCK);
		EQ(type_of(gone, F_WRLCK, 3, 1, F_GETLK), F_WRLCK);
		int p = OK(open("/proc/self/fd/3", O_RDWR));
		EQ(type_of(gone2, F_WRLCK, 0, 3, F_GETLK), F_UNLCK);
		EQ(type_of(p, F_WRLCK, 200, 3, F_OFD_GETLK), F_RDLCK);
		ERR(flock(p, LOCK_SH | LOCK_NB), EWOULDBLOCK);
		int d = OK(open(".", O_RDONLY));
		ERR(flock(d, LOCK_EX | LOCK_NB), EWOULDBLOCK);
		OK(flock(d, LOCK_SH | LOCK_NB));
		int f = OK(open("fifo", O_RDWR));
		ERR(flock(f, LOCK_SH | LOCK_NB), EWOULDBLOCK);
		_exit(0);
	}
	latch_wait(l);
	EQ(gone, 3);
	checkpoint();
	reap_ok(kid);
	return pass();
}
