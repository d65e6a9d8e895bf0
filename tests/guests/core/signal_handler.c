/* Caught inside a handler that runs on the alternate stack, itself interrupted by another one. */
#include "../guest.h"
static char stack[64 << 10] __attribute__((aligned(16)));
static volatile int depth, done;
static void inner(int s)
{
	(void)s;
	depth++;
	checkpoint();
	done++;
}
static void outer(int s)
{
	volatile char here;
	(void)s;
	stack_t now_;
	OK(sigaltstack(NULL, &now_));
	CHECK(now_.ss_flags & SS_ONSTACK);
	CHECK(&here >= stack && &here < stack + sizeof stack);
	depth++;
	raise(SIGUSR2);
	EQ(done, 1);
	OK(sigaltstack(NULL, &now_));
	CHECK(now_.ss_flags & SS_ONSTACK);
	EQ(now_.ss_sp, stack);
	done++;
}
int main(void)
{
	stack_t st = { .ss_sp = stack, .ss_size = sizeof stack };
	struct sigaction a = { .sa_handler = outer, .sa_flags = SA_ONSTACK }, b = { .sa_handler = inner };
	sigset_t mask, before;
	sigaddset(&a.sa_mask, SIGHUP);
	OK(sigaltstack(&st, NULL));
	OK(sigaction(SIGUSR1, &a, NULL));
	OK(sigaction(SIGUSR2, &b, NULL));
	sigprocmask(SIG_SETMASK, NULL, &before);
	raise(SIGUSR1);
	EQ(depth, 2);
	EQ(done, 2);
	sigprocmask(SIG_SETMASK, NULL, &mask);
	for (int s = 1; s <= 64; s++)
		EQ(sigismember(&mask, s), sigismember(&before, s));
	OK(sigaltstack(NULL, &st));
	EQ(st.ss_flags, 0);
	return pass();
}
