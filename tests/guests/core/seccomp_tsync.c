/* Filters that all threads share are one object: a further one can be put upon all of them. */
#include "../guest.h"
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
static pthread_barrier_t set, go;
static long deny(int nr, int code, unsigned flags)
{
	struct sock_filter f[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, nr, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | code),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog p = { 4, f };
	return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &p);
}
static void *run(void *arg)
{
	pthread_barrier_wait(&set);
	pthread_barrier_wait(&go);
	pthread_barrier_wait(&go);
	ERR(syscall(SYS_sync), 55);
	ERR(syscall(SYS_getgid), 56);
	ERR(syscall(SYS_getuid), 57);
	EQ(proc_field(syscall(SYS_gettid), "status", "Seccomp_filters", 10), 3);
	EQ(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), 0);
	return arg;
}
int main(void)
{
	pthread_t t[3];
	pthread_barrier_init(&set, NULL, 4);
	pthread_barrier_init(&go, NULL, 4);
	OK(deny(SYS_sync, 55, SECCOMP_FILTER_FLAG_LOG));
	for (int i = 0; i < 3; i++)
		pthread_create(&t[i], NULL, run, NULL);
	EQ(deny(SYS_getgid, 56, SECCOMP_FILTER_FLAG_TSYNC), 0);
	pthread_barrier_wait(&set);
	checkpoint();
	pthread_barrier_wait(&go);
	EQ(deny(SYS_getuid, 57, SECCOMP_FILTER_FLAG_TSYNC), 0);
	pthread_barrier_wait(&go);
	for (int i = 0; i < 3; i++)
		pthread_join(t[i], NULL);
	return pass();
}
