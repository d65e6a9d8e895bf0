/* Children that begin sessions and groups of their own, whose leaders end before their members. */
#include "../motion.h"
static void family(uint32_t seed)
{
	OK(setsid());
	pid_t leader = getpid();
	pid_t member = CHILD(
		if (next_random(&seed) % 2)
			OK(setpgid(0, 0));
		pid_t last = CHILD(
			EQ(getsid(0), leader);
			struct timespec brief = { 0, 500000 };
			nanosleep(&brief, NULL));
		reap_ok(last);
		EQ(getsid(0), leader));
	if (seed % 3 == 0)
		_exit(0); /* the member goes to the subreaper */
	reap_ok(member);
}
int main(void)
{
	motion_begin();
	OK(prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0));
	in_motion();
	uint32_t seed = 5;
	int alive = 0;
	bool more = true;
	while (more || alive) {
		more = more && moving();
		int status;
		while (more && alive < 8) {
			next_random(&seed);
			CHILD(family(seed));
			alive++;
		}
		pid_t pid = waitpid(-1, &status, 0);
		if (pid < 0 && errno == ECHILD)
			break;
		if (pid < 0)
			CHECK(errno == EINTR);
		else if (status)
			FAIL("child %d ended with status %#x", (int)pid, status);
		else if (alive > 0)
			alive--;
		step();
	}
	while (waitpid(-1, NULL, 0) > 0)
		;
	ERR(waitpid(-1, NULL, 0), ECHILD);
	return pass();
}
