/* A mapping that grows down, and the main stack, both grow further after the restore. */
#include "../guest.h"
static int __attribute__((noinline)) deep(int n)
{
	volatile char frame[1024];
	frame[n % 1024] = n;
	return n ? deep(n - 1) + frame[n % 1024] * 0 : 0;
}
int main(void)
{
	char *area = map(512 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	OK(munmap(area, 512 * PAGE));
	char *top = area + 500 * PAGE;
	char *p = mmap(top, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_GROWSDOWN | MAP_FIXED, -1, 0);
	EQ(p, top);
	fill(p, 4 * PAGE, 1);
	for (int i = 1; i < 10; i++)
		p[-i * (long)PAGE] = i;
	checkpoint();
	filled(p, 4 * PAGE, 1, "the mapping");
	for (int i = 1; i < 10; i++)
		EQ(p[-i * (long)PAGE], i);
	for (int i = 10; i < 60; i++)
		p[-i * (long)PAGE] = i;
	CHECK(vm_flag(p, "gd"));
	EQ(deep(4000), 0); /* four MiB of stack */
	CHECK(strstr(maps_line(&area), "[stack]"));
	return pass();
}
