/* Files opened in roundabout ways: through symbolic links, through /proc/self/fd and /proc/self/cwd, with "..", by a
 * hard link, under a name of 255 bytes, deep down. */
#include "../files.h"
int main(void)
{
	char path[PATH_MAX], longest[256];
	OK(mkdir("real", 0755));
	OK(symlink("real", "link"));
	OK(symlink("real/f", "flink"));
	int f = made("real/f", O_RDWR, 0600, "f"), a = OK(open("link/f", O_RDWR)), b = OK(open("flink", O_RDONLY));
	snprintf(path, sizeof path, "/proc/self/fd/%d", f);
	int c = OK(open(path, O_WRONLY)), d = OK(open("/proc/self/cwd/link/../real/./f", O_RDWR | O_APPEND));
	OK(link("real/f", "hard"));
	int e = OK(open("hard", O_RDONLY)), l = OK(open("flink", O_PATH | O_NOFOLLOW));
	memset(longest, 'n', 255);
	longest[255] = 0;
	int n = made(longest, O_RDWR, 0600, "n"), deep = OK(open(".", O_PATH));
	for (int i = 0; i < 12; i++) {
		OK(mkdirat(deep, longest + 10, 0700));
		int next = OK(openat(deep, longest + 10, O_PATH));
		close(deep);
		deep = next;
	}
	int down = OK(openat(deep, "down", O_CREAT | O_RDWR, 0600));
	checkpoint();
	is_at(f, "real/f");
	is_at(a, "real/f");
	is_at(b, "real/f");
	is_at(c, "real/f");
	is_at(d, "real/f");
	leads_to(e, "hard");
	is_at(e, "real/f");
	is_at(l, "flink");
	is_at(n, longest);
	leads_to(n, longest);
	EQ(write(d, "!", 1), 1);
	holds(e, "f!");
	struct stat st;
	OK(fstatat(deep, "down", &st, 0));
	same_inode(st, stat_of(down));
	return pass();
}
