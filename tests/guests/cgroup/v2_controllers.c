/* Version 2: controllers that are enabled for groups inside, level by level, and a limit of one of them. */
#include "../cgroup.h"
static const struct { const char *controller, *file, *outer, *inner; } known[] = {
	{ "hugetlb", "hugetlb.2MB.max", "8388608", "4194304" }, { "pids", "pids.max", "1000", "500" },
	{ "memory", "memory.max", "1073741824", "536870912" }, { "cpu", "cpu.weight", "300", "50" },
	{ "io", "io.weight", "default 300", "default 50" }, { "cpuset", "cpuset.cpus", "0", "0" },
};
static bool any;
static void check(bool set)
{
	for (int i = 0; i < (int)(sizeof known / sizeof *known); i++) {
		char enable[64];
		snprintf(enable, sizeof enable, "+%s", known[i].controller);
		if (!strstr(cg_get("", "", "cgroup.controllers"), known[i].controller) || !cg_has("", "", known[i].file))
			continue;
		any = true;
		if (set) {
			cg_put("", "", "cgroup.subtree_control", enable);
			cg_put("", "a", "cgroup.subtree_control", enable);
			cg_put("", "a", known[i].file, known[i].outer);
			cg_put("", "a/b", known[i].file, known[i].inner);
		}
		CHECK(strstr(cg_get("", "a", "cgroup.subtree_control"), known[i].controller));
		STR_EQ(cg_get("", "a", known[i].file), known[i].outer);
		STR_EQ(cg_get("", "a/b", known[i].file), known[i].inner);
	}
}
int main(void)
{
	static const char *const groups[] = { "", "a", "a/b", "leaf" };
	for (int i = 0; i < 4; i++)
		cg_make("", groups[i]);
	check(true);
	if (!any)
		SKIP("no controller is enabled in the root of version 2");
	struct latch ready = latch_new();
	pid_t child = OK(fork());
	if (!child) {
		cg_enter("", "a/b");
		latch_open(ready);
		wait_go();
		CG_IN("", "a/b");
		_exit(0);
	}
	latch_wait(ready);
	checkpoint();
	check(false);
	reap_ok(child);
	return pass();
}
