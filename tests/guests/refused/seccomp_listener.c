/* A listener of seccomp: it decides on the calls of others. */
#include "../guest.h"
#include <linux/filter.h>
#include <linux/seccomp.h>
int main(void)
{
	struct sock_filter allow = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	struct sock_fprog program = { 1, &allow };
	OK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	int fd = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &program);
	if (fd < 0)
		SKIP("a listener of seccomp: %s", strerror(errno));
	EQ(fd, 3);
	checkpoint();
	struct pollfd p = { fd, POLLIN };
	EQ(poll(&p, 1, 0), 0);
	return pass();
}
