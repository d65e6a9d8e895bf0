/* Processors and nodes, without which no task may enter, and the flags beside them. */
#include "../cgroup.h"
#define H "cpuset"
int main(void)
{
	cg_make(H, "");
	cg_make(H, "a");
	cg_put(H, "a", "cpuset.cpus", "0");
	cg_put(H, "a", "cpuset.memory_migrate", "1");
	cg_put(H, "a", "cpuset.mem_hardwall", "1");
	cg_put(H, "a", "cpuset.sched_load_balance", "0");
	cg_make(H, "a/empty");
	cg_enter(H, "a");
	checkpoint();
	CG_IN(H, "a");
	STR_EQ(cg_get(H, "a", "cpuset.cpus"), "0");
	STR_EQ(cg_get(H, "a", "cpuset.memory_migrate"), "1");
	STR_EQ(cg_get(H, "a", "cpuset.mem_hardwall"), "1");
	STR_EQ(cg_get(H, "a", "cpuset.sched_load_balance"), "0");
	STR_EQ(cg_get(H, "a/empty", "cpuset.cpus"), "0");
	return pass();
}
