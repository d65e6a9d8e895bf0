/* PR_SET_MDWE: memory that was written does not become executable; inherited or not. */
#include "../guest.h"
#ifndef PR_SET_MDWE
#define PR_SET_MDWE 65
#define PR_GET_MDWE 66
#endif
int main(void)
{
	if (prctl(PR_SET_MDWE, 1, 0, 0, 0))
		SKIP("the kernel has no PR_SET_MDWE");
	struct latch l = latch_new();
	pid_t child = OK(fork());
	if (!child) {
		latch_open(l);
		wait_go();
		EQ(prctl(PR_GET_MDWE, 0, 0, 0, 0), 1);
		ERR((long)mmap(NULL, PAGE, 7, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), EACCES);
		_exit(0);
	}
	latch_wait(l);
	char *p = map(PAGE, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	*p = 7;
	checkpoint();
	EQ(prctl(PR_GET_MDWE, 0, 0, 0, 0), 1);
	ERR(mprotect(p, PAGE, PROT_READ | PROT_EXEC), EACCES);
	EQ(*p, 7);
	reap_ok(child);
	return pass();
}
