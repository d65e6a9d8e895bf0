/* In a handler on an alternate stack, above another one: the frames lead back. */
#include "../x32.h"
static volatile unsigned depth, code, value;
static int pid;
static void inner(int signo, unsigned *info)
{
	(void)signo;
	code = info[2];
	checkpoint();
	depth++;
}
static void outer(int signo, unsigned *info)
{
	(void)signo;
	(void)info;
	OK(CALL(tgkill, pid, pid, 12));
	EQ(depth, 1);
	depth++;
}
struct stack {
	void *sp;
	int flags;
	unsigned size;
};
int guest(unsigned *top)
{
	(void)top;
	unsigned long long a = 0x123456789abcdef0, b = ~a, c = a * 3, got_a, got_b, got_c;
	pid = CALL(getpid);
	struct stack st = { map(16 << 12), 0, 16 << 12 };
	OK(CALL(sigaltstack, &st, 0));
	on_signal(10, outer, ON_STACK, 0);
	on_signal(12, inner, ON_STACK, 0);
	/* The whole of the registers. */
	register unsigned long long r12 __asm__("r12") = a, r13 __asm__("r13") = b, r14 __asm__("r14") = c;
	long long ret;
	__asm__ volatile("syscall"
			 : "=a"(ret), "+r"(r12), "+r"(r13), "+r"(r14)
			 : "0"((long long)NR_kill), "D"((long long)pid), "S"(10LL)
			 : "rcx", "r11", "memory");
	got_a = r12, got_b = r13, got_c = r14;
	OK(ret);
	EQ(depth, 2);
	EQ(code, -6);
	CHECK(got_a == a && got_b == b && got_c == c);
	return 0;
}
