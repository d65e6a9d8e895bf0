/* A process attaches to another, looks at it and lets it go, over and over; what it counts is not disturbed. While the
 * one traces the other a dump is refused, and both go on. */
#include "../motion.h"
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <elf.h>

static long read_word(pid_t kid, uint64_t *at)
{
	errno = 0;
	long word = ptrace(PTRACE_PEEKDATA, kid, at, 0);
	if (errno)
		FAIL("PTRACE_PEEKDATA: %s", strerror(errno));
	return word;
}

int main(void)
{
	motion_begin();
	/* Two counters that are equal whenever nobody is between them. */
	uint64_t *counts = map(PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t kid = CHILD(for (;;) {
		__atomic_fetch_add(counts, 1, __ATOMIC_SEQ_CST);
		__atomic_fetch_add(counts + 1, 1, __ATOMIC_SEQ_CST);
		usleep(50);
	});
	in_motion();
	int status;
	for (unsigned round = 0; moving(); round++) {
		if (round % 2) {
			OK(ptrace(PTRACE_ATTACH, kid, 0, 0));
			EQ(waitpid(kid, &status, 0), kid);
			CHECK(WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP);
		} else {
			OK(ptrace(PTRACE_SEIZE, kid, 0, PTRACE_O_TRACESYSGOOD));
			OK(ptrace(PTRACE_INTERRUPT, kid, 0, 0));
			EQ(waitpid(kid, &status, 0), kid);
			CHECK(WIFSTOPPED(status) && status >> 16 == PTRACE_EVENT_STOP);
			OK(ptrace(PTRACE_SYSCALL, kid, 0, 0));
			EQ(waitpid(kid, &status, 0), kid);
			EQ(status >> 8, SIGTRAP | 0x80);
		}
		struct user_regs_struct regs;
		struct iovec vector = {&regs, sizeof regs};
		OK(ptrace(PTRACE_GETREGSET, kid, NT_PRSTATUS, &vector));
		uint64_t first = read_word(kid, counts), second = read_word(kid, counts + 1);
		if (first - second > 1)
			FAIL("it has counted %llu and %llu", (unsigned long long)first, (unsigned long long)second);
		OK(ptrace(PTRACE_SETREGSET, kid, NT_PRSTATUS, &vector));
		OK(ptrace(PTRACE_DETACH, kid, 0, 0));
		/* Left alone it goes on. */
		for (int i = 0; __atomic_load_n(counts + 1, __ATOMIC_SEQ_CST) < first + 2; i++) {
			if (i > 100000)
				FAIL("it does not run on");
			usleep(100);
		}
		step();
	}
	OK(kill(kid, SIGKILL));
	EQ(waitpid(kid, &status, 0), kid);
	return pass();
}
