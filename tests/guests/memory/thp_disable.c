/* PR_SET_THP_DISABLE with its flag, in a child alone. */
#include "../guest.h"
int main(void)
{
	struct latch l = latch_new();
	pid_t child = OK(fork());
	if (!child) {
		if (prctl(PR_SET_THP_DISABLE, 1, 2 /* PR_THP_DISABLE_EXCEPT_ADVISED */, 0, 0))
			OK(prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0));
		int mode = OK(prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0));
		latch_open(l);
		wait_go();
		EQ(prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0), mode);
		_exit(0);
	}
	latch_wait(l);
	checkpoint();
	EQ(prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0), 0);
	reap_ok(child);
	return pass();
}
