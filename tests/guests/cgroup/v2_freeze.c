/* Version 2: a group that is frozen with nobody in it, inside one with a process. */
#include "../cgroup.h"
int main(void)
{
	cg_make("", "");
	cg_make("", "cold");
	cg_put("", "cold", "cgroup.freeze", "1");
	cg_enter("", "");
	checkpoint();
	CG_IN("", "");
	STR_EQ(cg_get("", "cold", "cgroup.freeze"), "1");
	STR_EQ(cg_get("", "", "cgroup.freeze"), "0");
	cg_put("", "cold", "cgroup.freeze", "0");
	return pass();
}
