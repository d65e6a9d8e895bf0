/* A group that is frozen, and one inside that is so by it: nobody is in them. */
#include "../cgroup.h"
#define H "freezer"
int main(void)
{
	cg_make(H, "");
	cg_make(H, "cold");
	cg_make(H, "cold/inside");
	cg_put(H, "cold", "freezer.state", "FROZEN");
	cg_enter(H, "");
	checkpoint();
	CG_IN(H, "");
	STR_EQ(cg_get(H, "", "freezer.state"), "THAWED");
	STR_EQ(cg_get(H, "cold", "freezer.state"), "FROZEN");
	STR_EQ(cg_get(H, "cold", "freezer.self_freezing"), "1");
	cg_put(H, "cold", "freezer.state", "THAWED");
	return pass();
}
