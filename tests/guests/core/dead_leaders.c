/* A group and a session live on after their leaders are dead and reaped. */
#include "../guest.h"
int main(void)
{
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	struct latch l[2] = { latch_new(), latch_new() };
	pid_t leader = OK(fork());
	if (!leader) { /* a group without its leader */
		OK(setpgid(0, 0));
		if (!OK(fork())) {
			pid_t group = getpgid(0);
			latch_open(l[0]);
			wait_go();
			EQ(getpgid(0), group);
			CHECK(group != getpid());
			_exit(0);
		}
		_exit(0);
	}
	pid_t session = OK(fork());
	if (!session) { /* a session without its leader, with a group of its own inside */
		OK(setsid());
		if (!OK(fork())) {
			pid_t sid = getsid(0);
			OK(setpgid(0, 0));
			latch_open(l[1]);
			wait_go();
			EQ(getsid(0), sid);
			EQ(getpgid(0), getpid());
			_exit(0);
		}
		_exit(0);
	}
	reap_ok(leader);
	reap_ok(session);
	latch_wait(l[0]);
	latch_wait(l[1]);
	checkpoint();
	ERR(kill(leader, 0), ESRCH);
	ERR(kill(session, 0), ESRCH);
	OK(kill(-leader, 0));
	for (int i = 0; i < 2; i++) {
		int st;
		pid_t pid = OK(wait(&st));
		if (st)
			FAIL("child %d ended with %#x", pid, st);
	}
	return pass();
}
