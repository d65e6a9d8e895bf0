/* What older kernels lack, found by asking for it. */
#ifndef OLDER_H
#define OLDER_H
#include "guest.h"
#include <sys/ptrace.h>

/* The files of one thread can be had when another one is the leader (PIDFD_THREAD, Linux 6.9). */
static inline bool pidfd_of_threads(void)
{
	int fd = syscall(SYS_pidfd_open, gettid(), O_EXCL);
	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

/* A tracer can ask for the user dispatch of a thread (PTRACE_GET_SYSCALL_USER_DISPATCH_CONFIG, Linux 6.4). */
static inline bool dispatch_is_told(void)
{
	char config[32];
	int status;
	pid_t child = OK(fork());
	if (!child) {
		ptrace(PTRACE_TRACEME, 0, 0, 0);
		raise(SIGSTOP);
		_exit(0);
	}
	EQ(waitpid(child, &status, 0), child);
	bool told = ptrace(0x4211, child, sizeof config, config) == 0;
	OK(ptrace(PTRACE_CONT, child, 0, 0));
	reap_ok(child);
	return told;
}
#endif
