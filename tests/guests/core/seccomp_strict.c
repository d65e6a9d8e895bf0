/* A child in strict mode: it may read, write and exit, and nothing else. */
#include "../guest.h"
#include <linux/seccomp.h>
int main(void)
{
	int in[2], out[2];
	OK(pipe(in));
	OK(pipe(out));
	pid_t good = OK(fork());
	if (!good) {
		OK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT));
		char c;
		if (write(out[1], "s", 1) != 1 || read(in[0], &c, 1) != 1)
			syscall(SYS_exit, 1);
		write(out[1], &c, 1);
		if (read(in[0], &c, 1) != 1)
			syscall(SYS_exit, 2);
		syscall(SYS_getppid); /* kills */
		syscall(SYS_exit, 3);
	}
	char c = 0;
	EQ(read(out[0], &c, 1), 1);
	EQ(c, 's');
	checkpoint();
	EQ(proc_field(good, "status", "Seccomp", 10), 1);
	EQ(write(in[1], "q", 1), 1);
	EQ(read(out[0], &c, 1), 1);
	EQ(c, 'q');
	EQ(write(in[1], "x", 1), 1);
	int st;
	EQ(waitpid(good, &st, 0), good);
	CHECK(WIFSIGNALED(st));
	EQ(WTERMSIG(st), SIGKILL);
	return pass();
}
