/* A weight of block I/O. */
#include "../cgroup.h"
#define H "blkio"
int main(void)
{
	cg_make(H, "");
	bool bfq = cg_has(H, "", "blkio.bfq.weight");
	if (bfq)
		cg_put(H, "", "blkio.bfq.weight", "321");
	cg_enter(H, "");
	checkpoint();
	CG_IN(H, "");
	if (bfq)
		STR_EQ(cg_get(H, "", "blkio.bfq.weight"), "321");
	return pass();
}
