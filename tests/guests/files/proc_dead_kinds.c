/* Many files and directories in /proc of a dead process. */
#include "../files.h"
#define N 18
int main(void)
{
	static const char *const names[N] = {"",       "ns",        "attr",   "task",        "net",
					     "maps",   "stat",   "cmdline", "mountinfo", "mounts", "oom_score_adj", "cgroup",
					     "limits", "smaps",  "wchan",   "sched",     "io",     "pagemap"};
	char path[64], byte;
	int fds[N], own[3];
	pid_t kid = OK(fork());
	if (!kid) {
		pause();
		_exit(0);
	}
	for (int i = 0; i < N; i++) {
		snprintf(path, sizeof path, "/proc/%d/%s", kid, names[i]);
		fds[i] = open(path, O_RDONLY);
		if (fds[i] < 0)
			CHECK(errno == ENOENT); /* not in every kernel */
	}
	snprintf(path, sizeof path, "/proc/%d/task/%d", kid, kid);
	own[0] = OK(open(path, O_RDONLY | O_DIRECTORY));
	own[1] = OK(openat(own[0], "status", O_RDONLY));
	own[2] = OK(openat(own[0], "comm", O_RDWR));
	OK(kill(kid, SIGKILL));
	EQ(OK(waitpid(kid, NULL, 0)), kid);
	checkpoint();
	for (int i = 0; i < N; i++)
		if (fds[i] >= 0)
			EQ(fcntl(fds[i], F_GETFL) & O_ACCMODE, O_RDONLY);
	ERR(read(fds[6], &byte, 1), ESRCH);
	ERR(read(own[1], &byte, 1), ESRCH);
	ERR(write(own[2], "x", 1), ESRCH);
	ERR(kill(kid, 0), ESRCH);
	return pass();
}
