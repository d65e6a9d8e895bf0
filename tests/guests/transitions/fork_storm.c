/* Processes that come and go, at most twenty at a time, each with a child of its own. */
#include "../motion.h"
#define MOST 20
static int work(int number)
{
	pid_t kid = CHILD(
		volatile unsigned sum = 0;
		for (int i = 0; i < 2000; i++)
			sum += i * number;
		_exit(number % 64));
	int status;
	EQ(waitpid(kid, &status, 0), kid);
	CHECK(WIFEXITED(status));
	EQ(WEXITSTATUS(status), number % 64);
	return number % 100;
}
int main(void)
{
	struct {
		pid_t pid;
		int number;
	} running[MOST] = { { 0 } };
	motion_begin();
	in_motion();
	int started = 0, ended = 0;
	bool more = true;
	while (more || ended < started) {
		more = more && moving();
		for (int i = 0; more && i < MOST; i++)
			if (!running[i].pid) {
				running[i].number = started++;
				running[i].pid = CHILD(_exit(work(running[i].number)));
			}
		int status, i;
		pid_t pid = waitpid(-1, &status, 0);
		if (pid < 0 && errno == EINTR)
			continue;
		OK(pid);
		for (i = 0; i < MOST && running[i].pid != pid; i++)
			;
		if (i == MOST)
			FAIL("an unknown child %d", (int)pid);
		if (!WIFEXITED(status) || WEXITSTATUS(status) != running[i].number % 100)
			FAIL("child %d ended with status %#x", (int)pid, status);
		running[i].pid = 0;
		ended++;
		step();
	}
	ERR(waitpid(-1, NULL, 0), ECHILD);
	return pass();
}
