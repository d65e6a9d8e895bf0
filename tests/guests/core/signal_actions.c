/* The action of every signal: handler, flags, mask. */
#include "../guest.h"
static volatile int got[65];
static void plain(int s) { got[s]++; }
static void info(int s, siginfo_t *i, void *c)
{
	(void)c;
	got[s] += i->si_value.sival_int;
}
static const int flags[] = { 0, SA_RESTART, SA_NODEFER, SA_RESETHAND, SA_ONSTACK, SA_NOCLDSTOP, SA_NOCLDWAIT };
static bool usable(int s) { return s != SIGKILL && s != SIGSTOP && s != 32 && s != 33; }
int main(void)
{
	for (int s = 1; s <= 64; s++) {
		struct sigaction sa = { .sa_flags = flags[s % 7] };
		if (!usable(s))
			continue;
		if (s % 4 == 0)
			sa.sa_handler = plain;
		else if (s % 4 == 1)
			sa.sa_sigaction = info, sa.sa_flags |= SA_SIGINFO;
		else
			sa.sa_handler = s % 4 == 2 ? SIG_IGN : SIG_DFL;
		sigaddset(&sa.sa_mask, s % 30 + 1);
		sigaddset(&sa.sa_mask, 34 + s % 30);
		OK(sigaction(s, &sa, NULL));
	}
	checkpoint();
	for (int s = 1; s <= 64; s++) {
		struct sigaction sa;
		if (!usable(s))
			continue;
		OK(sigaction(s, NULL, &sa));
		/* SA_RESTORER is the C library's */
		EQ((unsigned)sa.sa_flags & ~0x04000000U, (unsigned)flags[s % 7] | (s % 4 == 1 ? SA_SIGINFO : 0));
		for (int k = 1; k <= 64; k++)
			if (usable(k))
				EQ(sigismember(&sa.sa_mask, k), k == s % 30 + 1 || k == 34 + s % 30);
		void *expected = s % 4 == 0 ? (void *)plain : s % 4 == 1 ? (void *)info : s % 4 == 2 ? (void *)SIG_IGN : (void *)SIG_DFL;
		EQ(sa.sa_handler, expected);
	}
	kill(getpid(), 4);
	EQ(got[4], 1);
	sigqueue(getpid(), 37, (union sigval){ .sival_int = 5 });
	EQ(got[37], 5);
	return pass();
}
