/* Deleted files open in every way: for writing only, appending, without update of the access time, by path alone,
 * through /proc/self/fd, and not at all but in another process. */
#include "../files.h"
int main(void)
{
	int rw = made("f", O_RDWR, 0600, "content"), w = OK(open("f", O_WRONLY)), a = OK(open("f", O_WRONLY | O_APPEND)),
	    r = OK(open("f", O_RDONLY | O_NOATIME | O_CLOEXEC)), p = OK(open("f", O_PATH)), only = made("w", O_WRONLY, 0, "unread"), seen[7];
	OK(unlink("f"));
	OK(unlink("w"));
	char path[64];
	snprintf(path, sizeof path, "/proc/self/fd/%d", p);
	int again = OK(open(path, O_RDWR | O_SYNC));
	EQ(lseek(w, 3, SEEK_SET), 3);
	int fds[7] = {rw, w, a, r, p, only, again};
	for (int i = 0; i < 7; i++)
		seen[i] = OK(fcntl(fds[i], F_GETFL));
	checkpoint();
	for (int i = 0; i < 7; i++) {
		EQ(fcntl(fds[i], F_GETFL), seen[i]);
		EQ(stat_of(fds[i]).st_nlink, 0);
	}
	for (int i = 1; i < 7; i++)
		if (i != 5)
			same_inode(stat_of(rw), stat_of(fds[i]));
	EQ(write(w, "T", 1), 1);
	EQ(write(a, "!", 1), 1);
	holds(r, "conTent!");
	ERR(read(w, path, 1), EBADF);
	ERR(pread(only, path, 1, 0), EBADF);
	ERR(read(p, path, 1), EBADF);
	EQ(stat_of(only).st_size, 6);
	snprintf(path, sizeof path, "/proc/self/fd/%d", only);
	int back = OK(open(path, O_RDONLY));
	holds(back, "unread");
	return pass();
}
