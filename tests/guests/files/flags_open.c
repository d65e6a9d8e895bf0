/* Combinations of flags, each with its own description of one file; offsets of more than 32 bits. */
#include "../files.h"
static const int flags[] = {
	O_RDONLY, O_WRONLY, O_RDWR, O_RDWR | O_APPEND | O_SYNC, O_WRONLY | O_DSYNC | O_NONBLOCK, O_RDONLY | O_NOATIME | O_NOFOLLOW,
	O_RDWR | O_TRUNC, O_RDWR | O_CREAT | O_NOCTTY, O_WRONLY | O_APPEND | O_NOATIME | O_NONBLOCK | O_SYNC, O_RDWR | O_ASYNC | O_APPEND,
	O_PATH, O_PATH | O_NOFOLLOW, O_RDWR | O_LARGEFILE, 3 /* neither reading nor writing, but for ioctl(2) */,
};
#define N (int)(sizeof flags / sizeof *flags)
int main(void)
{
	int fd[N], seen[N];
	OK(mkdir("dir", 0755));
	int one = made("f", O_RDWR, 0600, "x");
	for (int i = 0; i < N; i++) {
		fd[i] = OK(open("f", flags[i], 0600));
		seen[i] = OK(fcntl(fd[i], F_GETFL));
		if (!(flags[i] & O_PATH))
			EQ(lseek(fd[i], (1LL << 42) + i, SEEK_SET), (1LL << 42) + i);
	}
	int dir = OK(open("dir", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NONBLOCK)), dirp = OK(open("dir", O_PATH | O_DIRECTORY)),
	    d1 = OK(fcntl(dir, F_GETFL)), d2 = OK(fcntl(dirp, F_GETFL));
	checkpoint();
	for (int i = 0; i < N; i++) {
		EQ(fcntl(fd[i], F_GETFL), seen[i]);
		same_inode(stat_of(fd[i]), stat_of(one));
		if (!(flags[i] & O_PATH))
			EQ(lseek(fd[i], 0, SEEK_CUR), (1LL << 42) + i);
	}
	EQ(fcntl(dir, F_GETFL), d1);
	EQ(fcntl(dirp, F_GETFL), d2);
	EQ(pwrite(fd[2], "end", 3, 1LL << 41), 3);
	EQ(stat_of(one).st_size, (1LL << 41) + 3);
	return pass();
}
