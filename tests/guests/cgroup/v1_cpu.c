/* Shares and quotas of processors, two levels deep. */
#include "../cgroup.h"
#define H "cpu"
int main(void)
{
	cg_make(H, "");
	cg_make(H, "a");
	cg_make(H, "a/b");
	cg_put(H, "a", "cpu.cfs_period_us", "50000");
	cg_put(H, "a", "cpu.cfs_quota_us", "40000");
	cg_put(H, "a/b", "cpu.cfs_period_us", "50000");
	cg_put(H, "a/b", "cpu.cfs_quota_us", "20000");
	cg_put(H, "a/b", "cpu.shares", "333");
	bool burst = cg_has(H, "a", "cpu.cfs_burst_us"), idle = cg_has(H, "a", "cpu.idle");
	if (burst)
		cg_put(H, "a", "cpu.cfs_burst_us", "7000");
	if (idle) {
		cg_make(H, "idle");
		cg_put(H, "idle", "cpu.idle", "1");
	}
	cg_enter(H, "");
	checkpoint();
	CG_IN(H, "");
	STR_EQ(cg_get(H, "a", "cpu.cfs_period_us"), "50000");
	STR_EQ(cg_get(H, "a", "cpu.cfs_quota_us"), "40000");
	STR_EQ(cg_get(H, "a/b", "cpu.cfs_quota_us"), "20000");
	STR_EQ(cg_get(H, "a/b", "cpu.shares"), "333");
	STR_EQ(cg_get(H, "a", "cpu.shares"), "1024");
	if (burst)
		STR_EQ(cg_get(H, "a", "cpu.cfs_burst_us"), "7000");
	if (idle)
		STR_EQ(cg_get(H, "idle", "cpu.idle"), "1");
	return pass();
}
