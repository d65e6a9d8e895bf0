/* Memory policies of mappings, mbind(2), beside one of the thread. */
#include "../guest.h"
enum { DEFAULT, PREFERRED, BIND, INTERLEAVE, LOCAL };
#define STATIC (1 << 15)
#define RELATIVE (1 << 14)
#define ADDR 2
#define LEN (4 * PAGE)
static const int want[] = { BIND, PREFERRED, LOCAL, INTERLEAVE | RELATIVE, BIND | STATIC };
#define N (int)(sizeof want / sizeof *want)
static void has(void *at, int mode)
{
	unsigned long nodes[16] = { 0 };
	int now = -1;
	OK(syscall(SYS_get_mempolicy, &now, nodes, 1024, at, ADDR));
	EQ(now, mode);
	EQ(nodes[0], mode == LOCAL || mode == DEFAULT ? 0 : 1);
}
int main(void)
{
	unsigned long nodes = 1;
	char *at[N], *plain = map(LEN, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	for (int i = 0; i < N; i++) {
		at[i] = map(LEN, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (syscall(SYS_mbind, at[i] + PAGE, LEN - 2 * PAGE, want[i], want[i] == LOCAL ? NULL : &nodes, 
			    want[i] == LOCAL ? 0 : 64, 0))
			SKIP("mbind %#x: %s", want[i], strerror(errno));
		fill(at[i], LEN, i);
		has(at[i] + PAGE, want[i]);
	}
	fill(plain, LEN, 9);
	checkpoint();
	for (int i = 0; i < N; i++) {
		has(at[i], DEFAULT);
		has(at[i] + PAGE, want[i]);
		has(at[i] + LEN - 2 * PAGE, want[i]);
		has(at[i] + LEN - PAGE, DEFAULT);
		filled(at[i], LEN, i, "memory");
	}
	has(plain, DEFAULT);
	return pass();
}
