/* A stopped task is stopped after the restore, and goes on by SIGCONT. */
#include "../guest.h"
static char state(pid_t pid)
{
	char path[64], text[512] = "";
	snprintf(path, sizeof path, "/proc/%d/stat", pid);
	int fd = OK(open(path, O_RDONLY));
	OK(read(fd, text, sizeof text - 1));
	close(fd);
	return strrchr(text, ')')[2];
}
int main(void)
{
	pid_t quiet = OK(fork()), spinning;
	if (!quiet) {
		wait_go();
		_exit(0);
	}
	spinning = OK(fork());
	if (!spinning) {
		volatile unsigned long n = 0;
		while (1)
			n++;
	}
	kill(quiet, SIGSTOP);
	kill(spinning, SIGSTOP);
	int st;
	EQ(waitpid(quiet, &st, WUNTRACED), quiet);
	EQ(waitpid(spinning, &st, WUNTRACED), spinning);
	checkpoint();
	EQ(state(quiet), 'T');
	EQ(state(spinning), 'T');
	OK(kill(quiet, SIGCONT));
	reap_ok(quiet);
	OK(kill(spinning, SIGCONT));
	siginfo_t info;
	OK(waitid(P_PID, spinning, &info, WCONTINUED));
	CHECK(state(spinning) != 'T');
	OK(kill(spinning, SIGKILL));
	EQ(waitpid(spinning, &st, 0), spinning);
	EQ(WTERMSIG(st), SIGKILL);
	return pass();
}
