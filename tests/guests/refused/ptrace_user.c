/* A tracer and its tracee in one tree: refused by name while the one traces the other, and both go on. */
#include "../guest.h"
#include <sys/ptrace.h>
int main(void)
{
	pid_t kid = OK(fork());
	if (!kid) {
		OK(ptrace(PTRACE_TRACEME, 0, 0, 0));
		raise(SIGSTOP);
		wait_go();
		_exit(5);
	}
	int status;
	EQ(waitpid(kid, &status, 0), kid);
	CHECK(WIFSTOPPED(status));
	checkpoint();
	EQ(proc_field(kid, "status", "TracerPid", 10), getpid());
	OK(ptrace(PTRACE_SETOPTIONS, kid, 0, PTRACE_O_TRACESYSGOOD));
	OK(ptrace(PTRACE_SYSCALL, kid, 0, 0));
	EQ(waitpid(kid, &status, 0), kid);
	EQ(status >> 8, SIGTRAP | 0x80);
	OK(ptrace(PTRACE_DETACH, kid, 0, 0));
	EQ(waitpid(kid, &status, 0), kid);
	EQ(WEXITSTATUS(status), 5);
	return pass();
}
