/* The break: content, size, and that it grows and shrinks. */
#include "../guest.h"
int main(void)
{
	char *start = sbrk(0);
	CHECK(sbrk(100 * PAGE) == start);
	fill(start, 100 * PAGE, 4);
	sbrk(-50 * (long)PAGE);
	char *end = sbrk(0);
	void *blocks[100];
	for (int i = 0; i < 100; i++)
		memset(blocks[i] = malloc(1000 + i), i, 1000 + i);
	end = sbrk(0);
	checkpoint();
	EQ(sbrk(0), end);
	filled(start, 50 * PAGE, 4, "the heap");
	for (int i = 0; i < 100; i++) {
		for (int k = 0; k < 1000 + i; k++)
			EQ(((unsigned char *)blocks[i])[k], i);
		free(blocks[i]);
	}
	EQ(sbrk(100 * PAGE), end);
	memset(end, 1, 100 * PAGE);
	CHECK(strstr(maps_line(start), "[heap]"));
	return pass();
}
