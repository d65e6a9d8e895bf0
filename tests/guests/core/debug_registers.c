/* Hardware breakpoints that a debugger has left behind. */
#include "../guest.h"
#include <pthread.h>
#include <sys/ptrace.h>
#include <sys/user.h>
static volatile int watched, other;
static volatile int hits;
static void on(int s)
{
	(void)s;
	hits++;
}
static void poke(pid_t pid, int n, unsigned long value)
{
	if (ptrace(PTRACE_POKEUSER, pid, offsetof(struct user, u_debugreg) + n * 8UL, value))
		_exit(errno);
}
int main(void)
{
	signal(SIGTRAP, on);
	pid_t me = getpid();
	pid_t child = OK(fork());
	if (!child) {
		if (ptrace(PTRACE_SEIZE, me, 0, 0) || ptrace(PTRACE_INTERRUPT, me, 0, 0))
			_exit(errno);
		waitpid(me, NULL, __WALL);
		poke(me, 0, (unsigned long)&watched);
		poke(me, 7, 1 | 1 << 16 | 3 << 18); /* local, writes, 4 bytes */
		if (ptrace(PTRACE_DETACH, me, 0, 0))
			_exit(errno);
		_exit(0);
	}
	int st;
	while (waitpid(child, &st, 0) < 0)
		CHECK(errno == EINTR);
	if (WEXITSTATUS(st))
		SKIP("hardware breakpoints cannot be set: %s", strerror(WEXITSTATUS(st)));
	watched = 1;
	if (hits != 1)
		SKIP("hardware breakpoints do not last (%d)", hits);
	checkpoint();
	other = 2;
	EQ(hits, 1);
	watched = 2;
	EQ(hits, 2);
	return pass();
}
