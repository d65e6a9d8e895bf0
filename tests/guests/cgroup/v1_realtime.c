/* Real-time threads in a group that is given time for them. */
#include "../cgroup.h"
#define H "cpu"
int main(void)
{
	cg_make(H, "");
	cg_make(H, "rt");
	if (!cg_has(H, "rt", "cpu.rt_runtime_us"))
		SKIP("groups have no real-time budget");
	if (put(cg_file(H, "", "cpu.rt_runtime_us"), "20000"))
		SKIP("no real-time budget is left");
	cg_put(H, "rt", "cpu.rt_period_us", "500000");
	cg_put(H, "rt", "cpu.rt_runtime_us", "4000");
	cg_enter(H, "");
	struct latch ready = latch_new();
	pid_t child = OK(fork());
	if (!child) {
		cg_enter(H, "rt");
		struct sched_param p = { 5 };
		OK(sched_setscheduler(0, SCHED_FIFO, &p));
		latch_open(ready);
		wait_go();
		CG_IN(H, "rt");
		EQ(sched_getscheduler(0), SCHED_FIFO);
		_exit(0);
	}
	latch_wait(ready);
	checkpoint();
	CG_IN(H, "");
	STR_EQ(cg_get(H, "", "cpu.rt_runtime_us"), "20000");
	STR_EQ(cg_get(H, "rt", "cpu.rt_period_us"), "500000");
	STR_EQ(cg_get(H, "rt", "cpu.rt_runtime_us"), "4000");
	reap_ok(child);
	return pass();
}
