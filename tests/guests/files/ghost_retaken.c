/* Deleted, and the name taken by something of another type: a file by a directory, directories by files, with what
 * lay in them. */
#include "../files.h"
int main(void)
{
	struct stat st;
	int file = made("f", O_RDWR, 0600, "was a file");
	OK(unlink("f"));
	OK(mkdir("f", 0700));
	close(made("f/inside", O_RDWR, 0600, "new"));
	OK(mkdir("d", 0711));
	int deep = made("d/deep", O_RDWR, 0600, "was in a directory"), d = OK(open("d", O_RDONLY | O_DIRECTORY));
	OK(mkdir("d/sub", 0700));
	int deeper = made("d/sub/deeper", O_RDWR, 0600, "two down");
	OK(mkdir("w", 0700));
	struct latch l = latch_new();
	pid_t kid = OK(fork());
	if (!kid) {
		OK(chdir("w"));
		OK(rmdir("../w"));
		close(made("../w", O_RDWR, 0600, "a file"));
		latch_open(l);
		wait_go();
		OK(stat(".", &st));
		EQ(st.st_nlink, 0);
		CHECK(S_ISDIR(st.st_mode));
		_exit(0);
	}
	latch_wait(l);
	OK(unlink("d/sub/deeper"));
	OK(rmdir("d/sub"));
	OK(unlink("d/deep"));
	OK(rmdir("d"));
	close(made("d", O_RDWR, 0600, "a file now"));
	checkpoint();
	holds(file, "was a file");
	holds(deep, "was in a directory");
	holds(deeper, "two down");
	EQ(stat_of(file).st_nlink, 0);
	EQ(stat_of(deep).st_nlink, 0);
	EQ(stat_of(deeper).st_nlink, 0);
	EQ(stat_of(d).st_nlink, 0);
	EQ(stat_of(d).st_mode, S_IFDIR | 0711);
	OK(access("f/inside", F_OK));
	int now = OK(open("d", O_RDONLY));
	holds(now, "a file now");
	reap_ok(kid);
	OK(unlink("f/inside"));
	OK(rmdir("f")); /* nothing else lies in it */
	return pass();
}
