/* General, x87 and SSE registers of a thread that computes while it is stopped. */
#include "../ia32.h"
static volatile int go;
static volatile int ready;
static int values[4] = { 11, 22, 33, 44 };
enum { FLAGS = 0x50f00 | 0x200000 | 0x1000000 };
static volatile int tid, bad;
static void run(void)
{
	int a, b, c, d, out[4];
	double pi = 3.25, back = 0;
	__asm__ volatile("fldl %[pi]\n\tmovups %[values], %%xmm5\n\t"
			 "mov $0x11111111, %%eax\n\tmov $0x22222222, %%ebx\n\tmov $0x33333333, %%edx\n\tmov $0x44444444, %%edi\n\t"
			 "movl $1, %[ready]\n"
			 "1:\tcmpl $0, %[go]\n\tje 1b\n\t"
			 "fstpl %[back]\n\tmovups %%xmm5, %[out]"
			 : "=&a"(a), "=&b"(b), "=&d"(c), "=&D"(d), [back] "=m"(back), [out] "=m"(out), [ready] "=m"(ready)
			 : [pi] "m"(pi), [values] "m"(values), [go] "m"(go)
			 : "memory", "cc", "xmm5");
	bad = a != 0x11111111 || b != 0x22222222 || c != 0x33333333 || d != 0x44444444 || back != 3.25 || out[0] != 11 || out[3] != 44;
	CALL(exit, 0);
}
int guest(unsigned *stack)
{
	(void)stack;
	unsigned *top = (unsigned *)((char *)map(16 << 12) + (16 << 12));
	*--top = 0;
	*--top = (unsigned)run;
	int ret;
	__asm__ volatile("int $0x80\n\ttest %%eax, %%eax\n\tjnz 1f\n\txor %%ebp, %%ebp\n\tret\n1:"
			 : "=a"(ret)
			 : "0"(NR_clone), "b"(FLAGS), "c"(top), "d"(0), "S"(0), "D"(&tid)
			 : "memory", "cc");
	OK(ret);
	while (!ready)
		CALL(sched_yield);
	checkpoint();
	go = 1;
	while (tid)
		CALL(sched_yield);
	EQ(bad, 0);
	return 0;
}
