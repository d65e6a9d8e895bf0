/* A child is in the group that its parent came from, and a grandchild in another. */
#include "../cgroup.h"
#define H "name=systemd"
int main(void)
{
	cg_make(H, "");
	cg_make(H, "deep");
	cg_make(H, "deep/er");
	cg_enter(H, "deep/er");
	struct latch ready = latch_new();
	pid_t child = OK(fork());
	if (!child) {
		cg_enter(H, "");
		pid_t grandchild = OK(fork());
		if (!grandchild) {
			cg_enter(H, "deep");
			latch_open(ready);
			wait_go();
			CG_IN(H, "deep");
			_exit(0);
		}
		wait_go();
		CG_IN(H, "");
		reap_ok(grandchild);
		_exit(0);
	}
	latch_wait(ready);
	checkpoint();
	CG_IN(H, "deep/er");
	reap_ok(child);
	return pass();
}
