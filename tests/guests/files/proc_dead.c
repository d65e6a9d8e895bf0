/* Files in /proc of a process that is dead: they stay open, and say that it is gone. */
#include "../guest.h"
int main(void)
{
	char path[64], byte;
	struct stat st;
	pid_t kid = OK(fork());
	if (!kid) {
		pause();
		_exit(0);
	}
	snprintf(path, sizeof path, "/proc/%d", kid);
	int dir = OK(open(path, O_RDONLY | O_DIRECTORY));
	int file = OK(openat(dir, "status", O_RDONLY));
	OK(kill(kid, SIGKILL));
	EQ(OK(waitpid(kid, NULL, 0)), kid);
	ERR(read(file, &byte, 1), ESRCH);
	checkpoint();
	ERR(read(file, &byte, 1), ESRCH);
	OK(fstat(dir, &st));
	CHECK(S_ISDIR(st.st_mode));
	ERR(access(path, F_OK), ENOENT);
	return pass();
}
