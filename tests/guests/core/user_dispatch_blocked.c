/* Stopped while its selector blocks all calls: nothing of the checkpoint is dispatched. Beside it, a range. */
#include "../user_dispatch.h"
int main(void)
{
	if (!dispatch_is_told())
		SKIP("the kernel does not tell of system call user dispatch");
	struct sigaction sa = { .sa_sigaction = on, .sa_flags = SA_SIGINFO };
	OK(sigaction(SIGSYS, &sa, NULL));
	if (prctl(PR_SET_SYSCALL_USER_DISPATCH, 1, 1, 0x7ffffffff000 - 1, NULL))
		SKIP("the kernel has no system call user dispatch");
	pthread_t t;
	pthread_create(&t, NULL, run, NULL);
	while (!ready)
		;
	checkpoint();
	OK(syscall(SYS_getppid));
	quit = 1;
	pthread_join(t, NULL);
	return pass();
}
