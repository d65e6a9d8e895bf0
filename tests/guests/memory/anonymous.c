/* Private anonymous memory of every protection, with holes and pages of zeros. */
#include "../guest.h"
int main(void)
{
	static const int prot[] = { PROT_NONE, PROT_READ, PROT_WRITE, PROT_READ | PROT_WRITE, PROT_EXEC, PROT_READ | PROT_EXEC,
				    PROT_READ | PROT_WRITE | PROT_EXEC };
	char *at[7], *holes = map(256 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	for (int i = 0; i < 7; i++) {
		at[i] = map(5 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		fill(at[i] + PAGE, 3 * PAGE, i);
		OK(mprotect(at[i], 5 * PAGE, prot[i]));
		map(PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0); /* keeps the mappings apart */
	}
	for (int i = 0; i < 256; i += 3)
		fill(holes + i * PAGE, PAGE, 100 + i);
	memset(holes + PAGE, 0, PAGE); /* touched, but all zero */
	checkpoint();
	for (int i = 0; i < 7; i++) {
		char perms[5] = { prot[i] & PROT_READ ? 'r' : '-', prot[i] & PROT_WRITE ? 'w' : '-', prot[i] & PROT_EXEC ? 'x' : '-', 'p' };
		char *got = strchr(maps_line(at[i]), ' ') + 1;
		got[4] = 0;
		STR_EQ(got, perms);
		OK(mprotect(at[i], 5 * PAGE, PROT_READ));
		filled(at[i] + PAGE, 3 * PAGE, i, "a protected mapping");
		zeroed(at[i], PAGE, "an untouched page before");
		zeroed(at[i] + 4 * PAGE, PAGE, "an untouched page after");
	}
	for (int i = 0; i < 256; i++)
		if (i % 3)
			zeroed(holes + i * PAGE, PAGE, "a hole");
		else
			filled(holes + i * PAGE, PAGE, 100 + i, "a page between holes");
	return pass();
}
