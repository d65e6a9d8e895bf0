/* A process that runs on a stack of its own: with each dump and restore its main stack stays as it is. */
#include "../guest.h"
#include <ucontext.h>
static ucontext_t there, back;
static void on_it(void)
{
	checkpoint();
}
static long stack_size(void)
{
	FILE *f = fopen("/proc/self/maps", "re");
	char line[4096 + 256];
	unsigned long a, b;
	CHECK(f);
	while (fgets(line, sizeof line, f))
		if (strstr(line, "[stack]") && sscanf(line, "%lx-%lx", &a, &b) == 2) {
			fclose(f);
			return b - a;
		}
	FAIL("no [stack]");
}
int main(void)
{
	size_t len = 64 * PAGE;
	char *own = map(len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	/* What lies below its stack is data. */
	memset(own, 0x5a, len / 2);
	OK(getcontext(&there));
	there.uc_stack.ss_sp = own + len / 2;
	there.uc_stack.ss_size = len / 2;
	there.uc_link = &back;
	makecontext(&there, on_it, 0);
	long before = stack_size();
	OK(swapcontext(&back, &there));
	EQ(stack_size(), before);
	for (size_t i = 0; i < len / 2; i++)
		EQ(own[i], 0x5a);
	return pass();
}
