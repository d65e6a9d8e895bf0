/* Handlers with and without siginfo, masks, an alternate stack, a pending signal, and one for SIGTRAP. */
#include "../ia32.h"
static volatile int got[65], code[65];
static volatile unsigned sp;
static void on(int signo, int *info)
{
	got[signo]++;
	code[signo] = info[2];
	sp = (unsigned)&signo;
}
struct stack {
	void *sp;
	int flags;
	unsigned size;
};
int guest(unsigned *top)
{
	(void)top;
	struct stack st = { map(16 << 12), 0, 16 << 12 }, now = { 0 };
	OK(CALL(sigaltstack, &st, 0));
	on_signal(10, on, 0, 1U << 11);
	on_signal(12, on, ON_STACK, 0);
	on_signal(5, on, 0, 0);
	struct action ignored = { (void (*)())1, 0, 0, { 0, 0 } };
	OK(CALL(rt_sigaction, 15, &ignored, 0, 8));
	unsigned mask[2] = { 1U << 13, 0 }, pending[2] = { 0 }; /* SIGALRM */
	OK(CALL(rt_sigprocmask, 2, mask, 0, 8));
	int pid = CALL(getpid);
	OK(CALL(kill, pid, 14));
	on_signal(14, on, 0, 0);
	checkpoint();
	OK(CALL(rt_sigpending, pending, 8));
	EQ(pending[0], 1U << 13);
	EQ(got[14], 0);
	mask[0] = 0;
	OK(CALL(rt_sigprocmask, 2, mask, 0, 8));
	EQ(got[14], 1);
	EQ(code[14], 0);
	struct action a = { 0 };
	OK(CALL(rt_sigaction, 10, 0, &a, 8));
	EQ(a.handler, on);
	EQ(a.mask[0], 1U << 11);
	EQ(a.restorer, restore);
	OK(CALL(kill, pid, 10));
	EQ(got[10], 1);
	OK(CALL(kill, pid, 15));
	OK(CALL(tgkill, pid, pid, 12));
	EQ(got[12], 1);
	EQ(code[12], -6);
	CHECK(sp > (unsigned)st.sp && sp < (unsigned)st.sp + st.size);
	OK(CALL(sigaltstack, 0, &now));
	EQ(now.sp, st.sp);
	EQ(now.size, st.size);
	__asm__ volatile("int3");
	EQ(got[5], 1);
	return 0;
}
