/* A child that its parent traces, in a stop. */
#include "../guest.h"
#include <sys/ptrace.h>
int main(void)
{
	pid_t child = OK(fork());
	if (!child) {
		ptrace(PTRACE_TRACEME, 0, 0, 0);
		raise(SIGSTOP);
		_exit(0);
	}
	int st;
	EQ(waitpid(child, &st, 0), child);
	CHECK(WIFSTOPPED(st));
	checkpoint();
	OK(ptrace(PTRACE_CONT, child, 0, 0));
	reap_ok(child);
	return pass();
}
