/* A timer's handler on a stack of its own that leaves by siglongjmp(3), and one that returns. */
#include "../motion.h"
#include <setjmp.h>
static sigjmp_buf back;
static volatile sig_atomic_t jumps, returns, may_jump;
static char stack[2 * 65536];
static void handler(int s)
{
	char here;
	if (&here < stack || &here >= stack + sizeof stack)
		FAIL("the handler runs at %p, outside of its stack", (void *)&here);
	if (may_jump && ++jumps % 2)
		siglongjmp(back, 1);
	returns++;
}
int main(void)
{
	motion_begin();
	stack_t ss = { .ss_sp = stack, .ss_size = sizeof stack }, now_;
	OK(sigaltstack(&ss, NULL));
	struct sigaction sa = { .sa_handler = handler, .sa_flags = SA_ONSTACK | SA_RESTART };
	OK(sigaction(SIGALRM, &sa, NULL));
	struct itimerval often = { { 0, 500 }, { 0, 500 } }, never = { { 0 } };
	OK(setitimer(ITIMER_REAL, &often, NULL));
	in_motion();
	volatile double sum = 0;
	volatile unsigned long rounds = 0;
	while (moving()) {
		if (!sigsetjmp(back, 1)) {
			may_jump = 1;
			for (volatile int i = 0; i < 20000; i++)
				sum = sum + 0.5;
		}
		may_jump = 0;
		sigset_t m;
		OK(sigprocmask(SIG_BLOCK, NULL, &m));
		EQ(sigismember(&m, SIGALRM), 0);
		OK(sigaltstack(NULL, &now_));
		EQ(now_.ss_flags, 0);
		CHECK(now_.ss_sp == stack);
		rounds++;
		step();
	}
	OK(setitimer(ITIMER_REAL, &never, NULL));
	CHECK(jumps > 0 && returns > 0);
	return pass();
}
