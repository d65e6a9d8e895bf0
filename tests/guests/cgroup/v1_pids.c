/* A limit of processes that is reached. */
#include "../cgroup.h"
#define H "pids"
int main(void)
{
	cg_make(H, "");
	cg_enter(H, "");
	pid_t child = OK(fork());
	if (!child) {
		wait_go();
		CG_IN(H, "");
		return 0;
	}
	cg_put(H, "", "pids.max", "2");
	ERR(fork(), EAGAIN);
	checkpoint();
	CG_IN(H, "");
	STR_EQ(cg_get(H, "", "pids.max"), "2");
	reap_ok(child);
	return pass();
}
