/* Names of anonymous memory (PR_SET_VMA_ANON_NAME). */
#include "../guest.h"
#ifndef PR_SET_VMA
#define PR_SET_VMA 0x53564d41
#define PR_SET_VMA_ANON_NAME 0
#endif
int main(void)
{
	char *p = map(4 * PAGE, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, p + PAGE, PAGE, "a name: of memory"))
		SKIP("the kernel does not name anonymous memory");
	checkpoint();
	CHECK(strstr(maps_line(p + PAGE), "[anon:a name: of memory]"));
	CHECK(!strstr(maps_line(p), "anon:"));
	CHECK(!strstr(maps_line(p + 2 * PAGE), "anon:"));
	return pass();
}
