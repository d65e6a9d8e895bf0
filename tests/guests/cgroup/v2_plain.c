/* Version 2: membership, nested and empty groups, limits of their number. */
#include "../cgroup.h"
int main(void)
{
	cg_make("", "");
	cg_make("", "a");
	cg_make("", "a/b");
	cg_make("", "a/empty");
	cg_put("", "a", "cgroup.max.depth", "7");
	cg_put("", "a", "cgroup.max.descendants", "9");
	bool pressure = cg_has("", "a", "cgroup.pressure");
	if (pressure)
		cg_put("", "a/b", "cgroup.pressure", "0");
	cg_enter("", "a");
	checkpoint();
	CG_IN("", "a");
	STR_EQ(cg_get("", "a", "cgroup.max.depth"), "7");
	STR_EQ(cg_get("", "a", "cgroup.max.descendants"), "9");
	STR_EQ(cg_get("", "a/b", "cgroup.max.depth"), "max");
	if (pressure) {
		STR_EQ(cg_get("", "a/b", "cgroup.pressure"), "0");
		STR_EQ(cg_get("", "a", "cgroup.pressure"), "1");
	}
	CHECK(cg_exists("", "a/empty"));
	STR_EQ(cg_get("", "a/empty", "cgroup.events"), "populated 0\nfrozen 0");
	return pass();
}
