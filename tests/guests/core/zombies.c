/* Zombies keep their exit status and their user until they are waited for; one leads a group, one a session. */
#include "../guest.h"
static pid_t dead(int how, int value, bool group, bool session)
{
	pid_t pid = OK(fork());
	if (!pid) {
		if (group)
			setpgid(0, 0);
		if (session)
			setsid();
		if (how == 'u')
			OK(setresuid(value, value, value));
		if (how == 'k') {
			signal(value, SIG_DFL);
			struct rlimit none = { 0, 0 };
			setrlimit(RLIMIT_CORE, &none);
			kill(getpid(), value);
		}
		_exit(value);
	}
	siginfo_t info;
	OK(waitid(P_PID, pid, &info, WEXITED | WNOWAIT));
	return pid;
}
static void wait_for(pid_t pid, int code, int status)
{
	siginfo_t info = { 0 };
	OK(waitid(P_PID, pid, &info, WEXITED));
	EQ(info.si_pid, pid);
	EQ(info.si_code, code);
	EQ(info.si_status, status);
	EQ(info.si_uid, code == CLD_EXITED && status == 77 ? 77 : 0);
}
int main(void)
{
	pid_t a = dead('e', 0, false, false), b = dead('e', 3, false, false), c = dead('k', SIGKILL, false, false),
	      d = dead('k', SIGTERM, true, false), e = dead('e', 255, false, true), f = dead('u', 77, false, false);
	checkpoint();
	EQ(getpgid(d), d);
	EQ(getsid(e), e);
	wait_for(f, CLD_EXITED, 77);
	wait_for(e, CLD_EXITED, 255);
	wait_for(d, CLD_KILLED, SIGTERM);
	wait_for(c, CLD_KILLED, SIGKILL);
	wait_for(b, CLD_EXITED, 3);
	wait_for(a, CLD_EXITED, 0);
	return pass();
}
