/* A list of devices that may be used. */
#include "../cgroup.h"
#define H "devices"
int main(void)
{
	cg_make(H, "");
	cg_make(H, "d");
	cg_put(H, "d", "devices.deny", "a");
	cg_put(H, "d", "devices.allow", "c 1:3 rwm");
	cg_put(H, "d", "devices.allow", "c 1:5 rw");
	cg_put(H, "d", "devices.allow", "b *:* m");
	cg_enter(H, "d");
	ERR(open("/dev/full", O_RDWR), EPERM);
	checkpoint();
	CG_IN(H, "d");
	STR_EQ(cg_get(H, "d", "devices.list"), "c 1:3 rwm\nc 1:5 rw\nb *:* m");
	STR_EQ(cg_get(H, "", "devices.list"), "a *:* rwm");
	ERR(open("/dev/full", O_RDWR), EPERM);
	close(OK(open("/dev/null", O_RDWR)));
	return pass();
}
