/* Chains of filters: shared by a child, one more in a thread, with flags; they still filter. */
#include "../guest.h"
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
static void deny(int nr, int code, unsigned flags)
{
	struct sock_filter f[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, nr, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | code),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog p = { 4, f };
	OK(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &p));
}
static pthread_barrier_t set, go;
static void *run(void *arg)
{
	deny(SYS_getpgrp, 77, 0);
	pthread_barrier_wait(&set);
	pthread_barrier_wait(&go);
	ERR(syscall(SYS_getpgrp), 77);
	ERR(syscall(SYS_sync), 55);
	ERR(syscall(SYS_getuid), 66);
	return arg;
}
int main(void)
{
	OK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	deny(SYS_sync, 55, SECCOMP_FILTER_FLAG_LOG);
	struct latch l = latch_new();
	pid_t child = OK(fork());
	if (!child) {
		deny(SYS_getgid, 88, 0);
		latch_open(l);
		wait_go();
		ERR(syscall(SYS_sync), 55);
		ERR(syscall(SYS_getgid), 88);
		OK(syscall(SYS_getuid));
		_exit(0);
	}
	latch_wait(l);
	deny(SYS_getuid, 66, SECCOMP_FILTER_FLAG_SPEC_ALLOW);
	pthread_t t;
	pthread_barrier_init(&set, NULL, 2);
	pthread_barrier_init(&go, NULL, 2);
	pthread_create(&t, NULL, run, NULL);
	pthread_barrier_wait(&set);
	checkpoint();
	ERR(syscall(SYS_sync), 55);
	ERR(syscall(SYS_getuid), 66);
	OK(syscall(SYS_getpgrp));
	EQ(proc_field(getpid(), "status", "Seccomp", 10), 2);
	pthread_barrier_wait(&go);
	pthread_join(t, NULL);
	reap_ok(child);
	return pass();
}
