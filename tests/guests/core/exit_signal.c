/* Children that tell of their end by another signal than SIGCHLD, or by none: alive and dead. */
#include "../guest.h"
static volatile int got[65];
static void on(int s)
{
	got[s]++;
}
static pid_t spawn(int signal)
{
	return OK(syscall(SYS_clone, signal, 0, 0, 0, 0));
}
int main(void)
{
	int signals[] = { SIGUSR1, 0, SIGCHLD, SIGRTMIN + 3 };
	pid_t alive[4], dead[4];
	for (int i = 0; i < 4; i++) {
		struct sigaction sa = { .sa_handler = on };
		if (signals[i])
			OK(sigaction(signals[i], &sa, NULL));
	}
	for (int i = 0; i < 4; i++) {
		dead[i] = spawn(signals[i]);
		if (!dead[i])
			_exit(20 + i);
		siginfo_t info;
		while (waitid(P_PID, dead[i], &info, WEXITED | WNOWAIT | __WALL))
			CHECK(errno == EINTR);
		alive[i] = spawn(signals[i]);
		if (!alive[i]) {
			wait_go();
			_exit(10 + i);
		}
	}
	memset((void *)got, 0, sizeof got);
	checkpoint();
	for (int i = 0; i < 4; i++) {
		int st;
		if (signals[i] != SIGCHLD) /* no SIGCHLD child, so not waited for without __WALL */
			ERR(waitpid(dead[i], &st, 0), ECHILD);
		EQ(waitpid(dead[i], &st, __WALL), dead[i]);
		EQ(WEXITSTATUS(st), 20 + i);
		pid_t p;
		while ((p = waitpid(alive[i], &st, __WALL)) < 0)
			CHECK(errno == EINTR);
		EQ(p, alive[i]);
		EQ(WEXITSTATUS(st), 10 + i);
		if (signals[i])
			EQ(got[signals[i]], 1);
	}
	return pass();
}
