/* Filters that trap, trace, log, kill, and that look at arguments; strict mode in one thread alone. */
#include "../guest.h"
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
static pthread_barrier_t set;
static volatile int trapped, data;
static void on(int s, siginfo_t *i, void *c)
{
	(void)s, (void)c;
	trapped = i->si_syscall;
	data = i->si_errno;
}
static volatile char quit;
static void *strict(void *arg)
{
	pthread_barrier_wait(&set);
	OK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT, 0, 0, 0));
	while (!quit)
		;
	syscall(SYS_exit, 0);
	return arg;
}
int main(void)
{
	pthread_t t;
	pthread_barrier_init(&set, NULL, 2);
	pthread_create(&t, NULL, strict, NULL);
	pthread_barrier_wait(&set);
	struct sigaction sa = { .sa_sigaction = on, .sa_flags = SA_SIGINFO };
	OK(sigaction(SIGSYS, &sa, NULL));
	struct sock_filter f[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getuid, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP | 99),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getgid, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRACE | 1), /* without a tracer: ENOSYS */
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_sync, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_geteuid, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_LOG),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_dup, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[0])),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 777, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | 33),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog p = { sizeof f / sizeof *f, f };
	OK(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &p));
	while (proc_field(getpid(), "status", "Threads", 10) != 2)
		;
	checkpoint();
	syscall(SYS_getuid);
	EQ(trapped, SYS_getuid);
	EQ(data, 99);
	ERR(syscall(SYS_getgid), ENOSYS);
	OK(syscall(SYS_geteuid));
	ERR(syscall(SYS_dup, 777), 33);
	ERR(syscall(SYS_dup, 778), EBADF);
	pid_t child = OK(fork());
	if (!child) {
		syscall(SYS_sync);
		_exit(0);
	}
	int st;
	EQ(waitpid(child, &st, 0), child);
	CHECK(WIFSIGNALED(st) && WTERMSIG(st) == SIGSYS);
	quit = 1;
	pthread_join(t, NULL);
	return pass();
}
