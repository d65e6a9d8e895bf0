/* Files in /proc of a parent, of children, of a zombie, and of processes that do not belong to the tree. */
#include "../files.h"
static int of(pid_t pid, const char *name)
{
	char path[64];
	snprintf(path, sizeof path, "/proc/%d/%s", pid, name);
	return OK(open(path, O_RDONLY));
}
static void says(int fd, pid_t pid, char state)
{
	char text[512] = "", *end;
	EQ(lseek(fd, 0, SEEK_SET), 0);
	OK(read(fd, text, sizeof text - 1));
	EQ(atoi(text), pid);
	CHECK((end = strrchr(text, ')')));
	if (state)
		EQ(end[2], state);
}
int main(void)
{
	pid_t me = getpid(), zombie = OK(fork());
	if (!zombie)
		_exit(7);
	siginfo_t info;
	OK(waitid(P_PID, zombie, &info, WEXITED | WNOWAIT));
	struct latch l = latch_new();
	pid_t kid = OK(fork());
	if (!kid) {
		int parent = of(me, "stat"), sibling = of(zombie, "stat"), dir = of(me, "fd");
		latch_open(l);
		wait_go();
		says(parent, me, 0);
		says(sibling, zombie, 'Z');
		OK(faccessat(dir, "0", F_OK, AT_SYMLINK_NOFOLLOW));
		_exit(0);
	}
	latch_wait(l);
	int child = of(kid, "stat"), dead = of(zombie, "stat"), dir = of(zombie, ""), init = of(1, "stat"), outside = of(getppid(), "status");
	checkpoint();
	if (kill(kid, 0) == 0 && !waitid(P_PID, kid, &info, WEXITED | WNOHANG | WNOWAIT) && !info.si_pid)
		says(child, kid, 0);
	says(dead, zombie, 'Z');
	says(init, 1, 0);
	OK(faccessat(dir, "stat", F_OK, 0));
	CHECK(stat_of(outside).st_mode);
	reap_ok(kid);
	int status;
	EQ(waitpid(zombie, &status, 0), zombie);
	EQ(WEXITSTATUS(status), 7);
	char byte;
	EQ(lseek(dead, 0, SEEK_SET), 0);
	ERR(read(dead, &byte, 1), ESRCH);
	return pass();
}
