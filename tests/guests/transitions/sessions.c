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
	/* Members that lost their leader come here too: they do not count, or there would be more and more. */
	pid_t leaders[8] = { 0 };
	for (;;) {
		int status;
		bool more = moving();
		for (int i = 0; more && i < 8; i++)
			if (!leaders[i]) {
				next_random(&seed);
				leaders[i] = CHILD(family(seed));
			}
		pid_t pid = waitpid(-1, &status, 0);
		if (pid < 0 && errno == ECHILD)
			break;
		if (pid < 0)
			CHECK(errno == EINTR);
		else if (status)
			FAIL("child %d ended with status %#x", (int)pid, status);
		for (int i = 0; i < 8; i++)
			if (leaders[i] == pid)
				leaders[i] = 0;
		step();
	}
	ERR(waitpid(-1, NULL, 0), ECHILD);
	return pass();
}
