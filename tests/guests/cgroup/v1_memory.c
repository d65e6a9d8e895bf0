/* Limits of memory, and that the restored memory is charged to the group that it belongs to. */
#include "../cgroup.h"
#define H "memory"
#define SIZE (24UL << 20)
int main(void)
{
	cg_make(H, "");
	cg_make(H, "m");
	cg_put(H, "m", "memory.limit_in_bytes", "268435456");
	cg_put(H, "m", "memory.memsw.limit_in_bytes", "402653184");
	cg_put(H, "m", "memory.soft_limit_in_bytes", "134217728");
	cg_put(H, "m", "memory.swappiness", "33");
	cg_put(H, "m", "memory.oom_control", "1");
	cg_enter(H, "m");
	char *p = map(SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	fill(p, SIZE, 5);
	checkpoint();
	CG_IN(H, "m");
	filled(p, SIZE, 5, "memory");
	STR_EQ(cg_get(H, "m", "memory.limit_in_bytes"), "268435456");
	STR_EQ(cg_get(H, "m", "memory.memsw.limit_in_bytes"), "402653184");
	STR_EQ(cg_get(H, "m", "memory.soft_limit_in_bytes"), "134217728");
	STR_EQ(cg_get(H, "m", "memory.swappiness"), "33");
	CHECK(!strncmp(cg_get(H, "m", "memory.oom_control"), "oom_kill_disable 1", 18));
	CHECK(strtoull(cg_get(H, "m", "memory.usage_in_bytes"), NULL, 10) >= SIZE);
	return pass();
}
