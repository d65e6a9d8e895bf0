/* A limit of memory that the process just fits into. */
#include "../cgroup.h"
#define H "memory"
#define SIZE (24UL << 20)
int main(void)
{
	cg_make(H, "");
	cg_put(H, "", "memory.limit_in_bytes", "50331648");
	cg_enter(H, "");
	char *p = map(SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	fill(p, SIZE, 9);
	checkpoint();
	CG_IN(H, "");
	filled(p, SIZE, 9, "memory");
	STR_EQ(cg_get(H, "", "memory.limit_in_bytes"), "50331648");
	return pass();
}
