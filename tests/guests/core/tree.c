/* Sessions, groups and parents of a small tree. */
#include "../guest.h"
struct who { pid_t pid, ppid, pgid, sid; };
static void still(struct who w, int line)
{
	if (getpid() != w.pid || getppid() != w.ppid || getpgid(0) != w.pgid || getsid(0) != w.sid)
		FAIL("line %d: pid %d parent %d group %d session %d, expected %d %d %d %d", line, getpid(), getppid(),
		     getpgid(0), getsid(0), w.pid, w.ppid, w.pgid, w.sid);
}
static struct who me(void) { return (struct who){ getpid(), getppid(), getpgid(0), getsid(0) }; }
static pid_t leaf(struct latch l, bool session, bool group)
{
	pid_t pid = OK(fork());
	if (pid)
		return pid;
	if (session)
		OK(setsid());
	if (group)
		OK(setpgid(0, 0));
	struct who w = me();
	latch_open(l);
	wait_go();
	still(w, __LINE__);
	_exit(0);
}
int main(void)
{
	struct latch l[3] = { latch_new(), latch_new(), latch_new() };
	pid_t a = leaf(l[0], true, false);
	pid_t b = leaf(l[1], false, true);
	pid_t mid = OK(fork());
	if (!mid) {
		struct latch m[2] = { latch_new(), latch_new() };
		OK(setsid());
		pid_t x = leaf(m[0], false, true);
		latch_wait(m[0]);
		OK(setpgid(0, 0) < 0 && errno == EPERM ? 0 : -1); /* a session leader stays in its group */
		pid_t y = leaf(m[1], false, false);
		latch_wait(m[1]);
		struct who w = me();
		latch_open(l[2]);
		wait_go();
		still(w, __LINE__);
		EQ(getpgid(x), x);
		EQ(getsid(x), getpid());
		reap_ok(x);
		reap_ok(y);
		_exit(0);
	}
	for (int i = 0; i < 3; i++)
		latch_wait(l[i]);
	checkpoint();
	reap_ok(a);
	reap_ok(b);
	reap_ok(mid);
	ERR(waitpid(-1, NULL, 0), ECHILD);
	return pass();
}
