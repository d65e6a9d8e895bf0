/* A child's end after the restore is announced as before it: SIGCHLD with siginfo, another exit signal, none. */
#include "../guest.h"
static char stack[3][16 << 10];
static int child(void *arg)
{
	wait_go();
	return (int)(intptr_t)arg;
}
int main(void)
{
	sigset_t m;
	sigemptyset(&m);
	sigaddset(&m, SIGCHLD);
	sigprocmask(SIG_BLOCK, &m, NULL);
	pid_t a = OK(clone(child, stack[0] + sizeof stack[0], SIGCHLD, (void *)11));
	checkpoint();
	siginfo_t i;
	struct timespec limit = { 10, 0 };
	EQ(sigtimedwait(&m, &i, &limit), SIGCHLD);
	EQ(i.si_pid, a);
	EQ(i.si_code, CLD_EXITED);
	EQ(i.si_status, 11);
	int st;
	EQ(waitpid(a, &st, 0), a);
	EQ(WEXITSTATUS(st), 11);
	return pass();
}
