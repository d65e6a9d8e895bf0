/* Deleted together with the directories above: a file, a directory, a working directory. */
#include "../guest.h"
int main(void)
{
	char buf[8] = "";
	struct stat st, here;
	OK(mkdir("a", 0700));
	OK(mkdir("a/b", 0700));
	OK(mkdir("a/b/c", 0751));
	OK(mkdir("a/b/cwd", 0700));
	int fd = OK(open("a/b/c/file", O_CREAT | O_RDWR, 0600));
	EQ(write(fd, "deep", 4), 4);
	int dir = OK(open("a/b/c", O_RDONLY | O_DIRECTORY));
	pid_t kid;
	struct latch l = latch_new();
	kid = OK(fork());
	if (!kid) {
		OK(chdir("a/b/cwd"));
		latch_open(l);
		wait_go();
		OK(stat(".", &st));
		EQ(st.st_nlink, 0);
		_exit(0);
	}
	latch_wait(l);
	OK(unlink("a/b/c/file"));
	OK(rmdir("a/b/c"));
	OK(rmdir("a/b/cwd"));
	OK(rmdir("a/b"));
	OK(rmdir("a"));
	checkpoint();
	EQ(pread(fd, buf, 4, 0), 4);
	STR_EQ(buf, "deep");
	OK(fstat(fd, &st));
	EQ(st.st_nlink, 0);
	OK(fstat(dir, &here));
	EQ(here.st_mode, S_IFDIR | 0751);
	EQ(here.st_nlink, 0);
	ERR(access("a", F_OK), ENOENT);
	reap_ok(kid);
	return pass();
}
