/* A named hierarchy without controllers: membership below a group with an empty one beside it. */
#include "../cgroup.h"
#define H "name=systemd"
int main(void)
{
	cg_make(H, "");
	cg_make(H, "service");
	cg_make(H, "service/empty");
	cg_put(H, "service", "notify_on_release", "1");
	cg_put(H, "service/empty", "cgroup.clone_children", "1");
	cg_enter(H, "service");
	checkpoint();
	CG_IN(H, "service");
	STR_EQ(cg_get(H, "service", "notify_on_release"), "1");
	STR_EQ(cg_get(H, "service", "cgroup.clone_children"), "0");
	CHECK(cg_exists(H, "service/empty"));
	STR_EQ(cg_get(H, "service/empty", "cgroup.clone_children"), "1");
	STR_EQ(cg_get(H, "service/empty", "tasks"), "");
	return pass();
}
