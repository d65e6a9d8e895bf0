/* A signal that is pending without its siginfo, for there was no room (RLIMIT_SIGPENDING). */
#include "../guest.h"
int main(void)
{
	sigset_t all;
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	struct rlimit none;
	OK(getrlimit(RLIMIT_SIGPENDING, &none));
	none.rlim_cur = 0;
	OK(setrlimit(RLIMIT_SIGPENDING, &none));
	OK(kill(getpid(), SIGUSR1));
	OK(syscall(SYS_tgkill, getpid(), getpid(), SIGUSR2));
	ERR(syscall(SYS_rt_sigqueueinfo, getpid(), SIGRTMIN, &(siginfo_t){ .si_signo = SIGRTMIN, .si_code = SI_QUEUE }), EAGAIN);
	checkpoint();
	siginfo_t info;
	struct timespec zero = { 0, 0 };
	EQ(sigtimedwait(&all, &info, &zero), SIGUSR2); /* the thread's own comes first */
	EQ(info.si_code, SI_USER);
	EQ(info.si_pid, 0);
	EQ(sigtimedwait(&all, &info, &zero), SIGUSR1); /* for kill(2) there is always room */
	EQ(info.si_code, SI_USER);
	EQ(info.si_pid, getpid());
	ERR(sigtimedwait(&all, &info, &zero), EAGAIN);
	return pass();
}
