/* A tree whose processes are in different groups of several hierarchies; one is where criu is. */
#include "../cgroup.h"
static pid_t start(const char *memory, const char *v2)
{
	struct latch ready = latch_new();
	pid_t child = OK(fork());
	if (!child) {
		if (memory)
			cg_enter("memory", memory);
		if (v2)
			cg_enter("", v2);
		latch_open(ready);
		wait_go();
		if (memory)
			CG_IN("memory", memory);
		else
			STR_EQ(strstr(cg_own("memory"), strrchr(guest_dir, '/') + 1) ? "in" : "out", "out");
		if (v2)
			CG_IN("", v2);
		else
			STR_EQ(cg_own(""), "/");
		_exit(0);
	}
	latch_wait(ready);
	return child;
}
int main(void)
{
	if (strcmp(cg_own(""), "/"))
		SKIP("the test is in group %s of version 2", cg_own(""));
	static const char *const groups[] = { "", "a", "a/b", "c" };
	for (int i = 0; i < 4; i++) {
		cg_make("memory", groups[i]);
		cg_make("", groups[i]);
	}
	pid_t pids[] = { start("a", "c"), start("a/b", NULL), start(NULL, "a/b"), start(NULL, NULL), start("", "") };
	checkpoint();
	STR_EQ(cg_own(""), "/");
	for (int i = 0; i < 5; i++)
		reap_ok(pids[i]);
	return pass();
}
