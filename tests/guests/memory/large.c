/* 64 MiB, each word checked. */
#include "../guest.h"
#define SIZE (64UL << 20)
int main(void)
{
	char *p = map(SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	fill(p, SIZE, 17);
	checkpoint();
	filled(p, SIZE, 17, "64 MiB");
	fill(p, SIZE, 18);
	filled(p, SIZE, 18, "64 MiB written again");
	return pass();
}
