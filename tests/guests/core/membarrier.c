/* Registrations for expedited barriers. */
#include "../guest.h"
#include <linux/membarrier.h>
int main(void)
{
	int have = OK(syscall(SYS_membarrier, MEMBARRIER_CMD_QUERY, 0, 0));
	struct { int reg, cmd; } r[] = {
		{ MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, MEMBARRIER_CMD_PRIVATE_EXPEDITED },
		{ MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED, MEMBARRIER_CMD_GLOBAL_EXPEDITED },
		{ MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE, MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE },
	};
	for (int i = 0; i < 3; i++)
		if (have & r[i].reg)
			OK(syscall(SYS_membarrier, r[i].reg, 0, 0));
	if (have & (1 << 7)) /* PRIVATE_EXPEDITED_RSEQ is not registered */
		ERR(syscall(SYS_membarrier, 1 << 7, 0, 0), EPERM);
	long before = syscall(SYS_membarrier, 1 << 9 /* GET_REGISTRATIONS, Linux 6.3 */, 0, 0);
	checkpoint();
	for (int i = 0; i < 3; i++)
		if (have & r[i].reg)
			OK(syscall(SYS_membarrier, r[i].cmd, 0, 0));
	EQ(syscall(SYS_membarrier, 1 << 9, 0, 0), before);
	return pass();
}
