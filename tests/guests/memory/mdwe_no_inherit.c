/* PR_MDWE_NO_INHERIT. */
#include "../guest.h"
int main(void)
{
	if (prctl(65 /* PR_SET_MDWE */, 3, 0, 0, 0))
		SKIP("the kernel has no PR_MDWE_NO_INHERIT");
	checkpoint();
	EQ(prctl(66, 0, 0, 0, 0), 3);
	pid_t child = OK(fork());
	if (!child) {
		EQ(prctl(66, 0, 0, 0, 0), 0);
		_exit(0);
	}
	reap_ok(child);
	return pass();
}
