/* Much memory, all of it different from zero. */
#include "../guest.h"
int main(void)
{
	size_t len = 96 << 20;
	char *p = map(len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	fill(p, len, 7);
	checkpoint();
	filled(p, len, 7, "memory");
	return pass();
}
