/* Pending signals with siginfo of every kind: faults, timers, message queues, children, hundreds in a queue. */
#include "../guest.h"
static void send_info(int signo, int code, int n)
{
	siginfo_t i = { 0 };
	i.si_signo = signo;
	i.si_code = code;
	i.si_errno = 1000 + n;
	for (unsigned b = 0; b < 40; b++)
		((unsigned char *)&i)[16 + b] = n + b;
	OK(syscall(SYS_rt_sigqueueinfo, getpid(), signo, &i));
}
static void expect(int signo, int code, int n)
{
	siginfo_t i = { 0 };
	sigset_t one;
	struct timespec zero = { 0, 0 };
	sigemptyset(&one);
	sigaddset(&one, signo);
	EQ(syscall(SYS_rt_sigtimedwait, &one, &i, &zero, 8), signo);
	EQ(i.si_code, code);
	EQ(i.si_errno, 1000 + n);
	for (unsigned b = 0; b < 8; b++)
		EQ(((unsigned char *)&i)[16 + b], (unsigned char)(n + b));
}
static const struct { int signo, code; } kinds[] = {
	{ SIGSEGV, SEGV_ACCERR }, { SIGBUS, BUS_ADRERR }, { SIGFPE, FPE_INTDIV }, { SIGILL, ILL_ILLOPC }, { SIGTRAP, TRAP_BRKPT },
	{ SIGCHLD, CLD_EXITED }, { SIGIO, POLL_IN }, { SIGUSR1, SI_MESGQ }, { SIGUSR2, SI_ASYNCIO }, { SIGALRM, SI_KERNEL },
	{ SIGHUP, SI_USER }, { SIGTERM, SI_TKILL }, { SIGSYS, 1 }, { SIGWINCH, SI_QUEUE }, { SIGURG, SI_SIGIO },
};
#define KINDS (int)(sizeof kinds / sizeof *kinds)
int main(void)
{
	sigset_t all;
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	for (int i = 0; i < KINDS; i++)
		send_info(kinds[i].signo, kinds[i].code, i);
	for (int i = 0; i < 700; i++)
		send_info(SIGRTMIN + i % 7, SI_QUEUE, i);
	checkpoint();
	for (int i = 0; i < KINDS; i++)
		expect(kinds[i].signo, kinds[i].code, i);
	for (int i = 0; i < 700; i++)
		expect(SIGRTMIN + i % 7, SI_QUEUE, i);
	return pass();
}
