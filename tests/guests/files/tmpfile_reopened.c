/* A file without a name under several descriptions, in several processes, that is given a name at the end. */
#include "../files.h"
int main(void)
{
	char path[64];
	OK(mkdir("d", 0700));
	int fd = open("d", O_TMPFILE | O_RDWR, 0640);
	if (fd < 0)
		SKIP("no O_TMPFILE on this filesystem: %s", strerror(errno));
	EQ(write(fd, "nameless", 8), 8);
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	int r = OK(open(path, O_RDONLY)), a = OK(open(path, O_WRONLY | O_APPEND)), p = OK(open(path, O_PATH)),
	    no = OK(open("d", O_TMPFILE | O_RDWR | O_EXCL, 0600)), w = OK(open("d", O_TMPFILE | O_WRONLY, 0200));
	EQ(write(w, "w", 1), 1);
	(void)no;
	struct latch l = latch_new();
	pid_t kid = OK(fork());
	if (!kid) {
		close(r);
		latch_open(l);
		wait_go();
		EQ(lseek(fd, 0, SEEK_CUR), 8);
		_exit(0);
	}
	latch_wait(l);
	checkpoint();
	reap_ok(kid);
	same_inode(stat_of(fd), stat_of(r));
	same_inode(stat_of(fd), stat_of(a));
	same_inode(stat_of(fd), stat_of(p));
	EQ(stat_of(fd).st_mode, S_IFREG | 0640);
	EQ(stat_of(fd).st_nlink, 0);
	EQ(stat_of(w).st_mode, S_IFREG | 0200);
	EQ(stat_of(w).st_size, 1);
	EQ(write(a, "!", 1), 1);
	holds(r, "nameless!");
	OK(linkat(AT_FDCWD, path, AT_FDCWD, "named", AT_SYMLINK_FOLLOW));
	is_at(r, "named");
	OK(rmdir("d")); /* nothing was left in it */
	return pass();
}
