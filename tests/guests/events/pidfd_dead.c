/* pidfds of processes that are reaped: still over, still told apart, and they signal nobody. */
#include "../guest.h"
static void gone(int fd[2])
{
	pid_t kid = OK(fork());
	if (!kid)
		_exit(3);
	for (int i = 0; i < 2; i++)
		fd[i] = OK(syscall(SYS_pidfd_open, kid, i ? O_NONBLOCK : 0));
	EQ(waitpid(kid, NULL, 0), kid);
}
int main(void)
{
	int a[2], b[2];
	struct stat s[4];
	gone(a);
	gone(b);
	OK(fstat(a[0], &s[0]));
	OK(fstat(b[0], &s[1]));
	bool distinct = s[0].st_ino != s[1].st_ino; /* Linux 6.9 */
	signal(SIGCHLD, SIG_IGN);
	checkpoint();
	int all[] = { a[0], a[1], b[0], b[1] };
	for (int i = 0; i < 4; i++) {
		struct pollfd p = { all[i], POLLIN, 0 };
		EQ(poll(&p, 1, 0), 1);
		ERR(syscall(SYS_pidfd_send_signal, all[i], 0, NULL, 0), ESRCH);
		OK(fstat(all[i], &s[i]));
	}
	EQ(fcntl(a[0], F_GETFL) & O_NONBLOCK, 0);
	EQ(fcntl(b[1], F_GETFL) & O_NONBLOCK, O_NONBLOCK);
	if (distinct) {
		CHECK(s[0].st_ino == s[1].st_ino && s[2].st_ino == s[3].st_ino);
		CHECK(s[0].st_ino != s[2].st_ino);
	}
	ERR(waitpid(-1, NULL, WNOHANG), ECHILD);
	return pass();
}
