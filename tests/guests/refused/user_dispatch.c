/* Before Linux 6.4 nobody can suspend the user dispatch of system calls: a thread whose selector blocks them is refused
 * by name, and goes on as before. */
#include "../user_dispatch.h"
int main(void)
{
	struct sigaction sa = { .sa_sigaction = on, .sa_flags = SA_SIGINFO };
	pthread_t thread;
	if (dispatch_is_told())
		SKIP("the kernel tells of user dispatch");
	OK(sigaction(SIGSYS, &sa, NULL));
	if (prctl(PR_SET_SYSCALL_USER_DISPATCH, 1, 1, 0x7ffffffff000 - 1, NULL))
		SKIP("the kernel has no system call user dispatch");
	EQ(pthread_create(&thread, NULL, run, NULL), 0);
	while (!ready)
		;
	checkpoint();
	quit = 1;
	EQ(pthread_join(thread, NULL), 0);
	return pass();
}
