/* A child, alive, and one that is dead. */
#include "../ia32.h"
static unsigned page[1024] __attribute__((aligned(4096)));
int guest(unsigned *stack)
{
	(void)stack;
	page[5] = 55;
	int dead = OK(CALL(fork));
	if (!dead)
		CALL(exit_group, 3);
	int child = OK(CALL(fork));
	if (!child) {
		page[6] = 66;
		wait_go();
		EQ(page[5], 55);
		EQ(page[6], 66);
		CALL(exit_group, 4);
	}
	checkpoint();
	int status = 0;
	EQ(CALL(waitpid, dead, &status, 0), dead);
	EQ(status, 3 << 8);
	EQ(CALL(waitpid, child, &status, 0), child);
	EQ(status, 4 << 8);
	EQ(page[5], 55);
	EQ(page[6], 0);
	return 0;
}
