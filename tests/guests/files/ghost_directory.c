/* A deleted directory that is open, and one that is a working directory. */
#include "../guest.h"
int main(void)
{
	struct stat st;
	OK(mkdir("open", 0751));
	OK(mkdir("cwd", 0700));
	int d = OK(open("open", O_RDONLY | O_DIRECTORY));
	OK(rmdir("open"));
	struct latch l = latch_new();
	pid_t kid = OK(fork());
	if (!kid) {
		OK(chdir("cwd"));
		OK(rmdir("../cwd"));
		latch_open(l);
		wait_go();
		OK(stat(".", &st));
		EQ(st.st_nlink, 0);
		ERR(open("x", O_CREAT | O_RDWR, 0600), ENOENT);
		_exit(0);
	}
	latch_wait(l);
	checkpoint();
	OK(fstat(d, &st));
	EQ(st.st_mode, S_IFDIR | 0751);
	EQ(st.st_nlink, 0);
	ERR(access("open", F_OK), ENOENT);
	ERR(access("cwd", F_OK), ENOENT);
	reap_ok(kid);
	return pass();
}
