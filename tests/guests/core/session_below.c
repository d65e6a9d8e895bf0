/* Processes of sessions that were begun further down the tree, and whose own parents are gone: the leader lives, is a
   zombie that nobody reaped, or is gone too. Who takes them over need not be a child subreaper any more. */
#include "../guest.h"
#define KINDS 3
struct seen {
	pid_t session[KINDS], member[KINDS];
};
static struct seen *seen;
static struct latch settled[KINDS];
/* Waits in its session and group. */
static void member(int kind)
{
	pid_t session = getsid(0), group = getpgid(0), root = getppid();
	seen->member[kind] = getpid();
	EQ(session, seen->session[kind]);
	latch_open(settled[kind]);
	wait_go();
	EQ(getsid(0), session);
	EQ(getpgid(0), group);
	EQ(getppid(), root);
	_exit(10 + kind);
}
/* Begins a session whose other process loses its parent. */
static void leader(int kind, pid_t root)
{
	OK(setsid());
	seen->session[kind] = getpid();
	pid_t middle = OK(fork());
	if (!middle) {
		if (!OK(fork())) {
			while (getppid() != root)
				sched_yield();
			if (kind == 1)
				OK(setpgid(0, 0));
			member(kind);
		}
		_exit(0);
	}
	reap_ok(middle);
	if (kind)
		_exit(0);
	wait_go();
	EQ(getsid(0), getpid());
	_exit(0);
}
int main(void)
{
	pid_t root = getpid(), below;
	int status, subreaper;
	siginfo_t info;
	seen = map(PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	for (int kind = 0; kind < KINDS; kind++)
		settled[kind] = latch_new();
	OK(prctl(PR_SET_CHILD_SUBREAPER, 1));
	struct latch down = latch_new();
	below = OK(fork());
	if (!below) {
		pid_t leaders[KINDS];
		for (int kind = 0; kind < KINDS; kind++) {
			leaders[kind] = OK(fork());
			if (!leaders[kind])
				leader(kind, root);
		}
		/* Others of the session of the last, whose leader is gone, stay below this one. */
		reap_ok(leaders[2]);
		OK(waitid(P_PID, leaders[1], &info, WEXITED | WNOWAIT));
		latch_open(down);
		wait_go();
		OK(prctl(PR_GET_CHILD_SUBREAPER, &subreaper));
		EQ(subreaper, 0);
		EQ(getsid(0), getsid(root));
		reap_ok(leaders[0]);
		reap_ok(leaders[1]);
		ERR(wait(NULL), ECHILD);
		_exit(0);
	}
	latch_wait(down);
	for (int kind = 0; kind < KINDS; kind++)
		latch_wait(settled[kind]);
	OK(prctl(PR_SET_CHILD_SUBREAPER, 0));
	checkpoint();
	OK(prctl(PR_GET_CHILD_SUBREAPER, &subreaper));
	EQ(subreaper, 0);
	for (int kind = 0; kind < KINDS; kind++) {
		EQ(waitpid(seen->member[kind], &status, 0), seen->member[kind]);
		EQ(status, (10 + kind) << 8);
	}
	reap_ok(below);
	ERR(wait(NULL), ECHILD);
	return pass();
}
