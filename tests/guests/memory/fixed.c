/* Mappings at the edges of the address space, and where a restorer might like to live. */
#include "../guest.h"
int main(void)
{
	static const unsigned long at[] = { 0x10000, 0x400000, 0x7f0000000000, 0x7ffffffff000 - 0x10000, 0x100000000, 0x600000000000 };
	char *p[6];
	for (int i = 0; i < 6; i++) {
		p[i] = mmap((void *)at[i], 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
		if (p[i] == MAP_FAILED) {
			if (errno != EEXIST)
				FAIL("mmap at %#lx: %s", at[i], strerror(errno));
			p[i] = NULL;
			continue;
		}
		fill(p[i], 2 * PAGE, i);
	}
	checkpoint();
	for (int i = 0; i < 6; i++)
		if (p[i])
			filled(p[i], 2 * PAGE, i, "a mapping at a fixed address");
	return pass();
}
