/* A device that was opened before the group denied it. */
#include "../cgroup.h"
#define H "devices"
int main(void)
{
	cg_make(H, "");
	cg_enter(H, "");
	int fd = OK(open("/dev/zero", O_RDONLY));
	char *mapped = map(PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	mapped[3] = 7;
	cg_put(H, "", "devices.deny", "a");
	ERR(open("/dev/zero", O_RDONLY), EPERM);
	checkpoint();
	CG_IN(H, "");
	STR_EQ(cg_get(H, "", "devices.list"), "");
	ERR(open("/dev/zero", O_RDONLY), EPERM);
	char byte = 1;
	EQ(read(fd, &byte, 1), 1);
	EQ(byte, 0);
	EQ(mapped[3], 7);
	return pass();
}
