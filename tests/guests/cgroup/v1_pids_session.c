/* A limit of processes that is reached, by a process whose session has lost its leader: a restore needs one more for it. */
#include "../cgroup.h"
#define H "pids"
int main(void)
{
	cg_make(H, "");
	cg_enter(H, "");
	OK(prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0));
	struct latch ready = latch_new();
	pid_t leader = OK(fork()), child;
	if (!leader) {
		OK(setsid());
		if (!OK(fork())) {
			latch_open(ready);
			wait_go();
			CG_IN(H, "");
			_exit(0);
		}
		_exit(0);
	}
	latch_wait(ready);
	reap_ok(leader);
	cg_put(H, "", "pids.max", "2");
	checkpoint();
	CG_IN(H, "");
	STR_EQ(cg_get(H, "", "pids.max"), "2");
	child = OK(waitpid(-1, NULL, 0));
	CHECK(child != leader);
	return pass();
}
