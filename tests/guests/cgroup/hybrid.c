/* Groups of several hierarchies of both versions at once. */
#include "../cgroup.h"
static const char *const all[] = { "memory", "pids", "cpu", "cpuset", "freezer", "devices", "name=systemd", "" };
#define N (int)(sizeof all / sizeof *all)
int main(void)
{
	for (int i = 0; i < N; i++) {
		cg_make(all[i], "");
		cg_make(all[i], "x");
		cg_enter(all[i], i % 2 ? "x" : "");
	}
	cg_put("pids", "x", "pids.max", "100");
	checkpoint();
	for (int i = 0; i < N; i++)
		CG_IN(all[i], i % 2 ? "x" : "");
	STR_EQ(cg_get("pids", "x", "pids.max"), "100");
	return pass();
}
