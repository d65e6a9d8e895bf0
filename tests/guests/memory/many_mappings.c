/* Four thousand mappings. */
#include "../guest.h"
#define N 4000
int main(void)
{
	char *p = map(2 * N * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	for (int i = 0; i < N; i++) {
		*(int *)(p + 2 * i * PAGE) = i;
		OK(mprotect(p + 2 * i * PAGE, PAGE, i % 2 ? PROT_READ : PROT_READ | PROT_EXEC));
	}
	checkpoint();
	for (int i = 0; i < N; i++)
		EQ(*(int *)(p + 2 * i * PAGE), i);
	return pass();
}
