/* One process stops and continues another over and over; every stop is told, every time. */
#include "../motion.h"
int main(void)
{
	motion_begin();
	uint64_t *count = map(PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t kid = CHILD(for (;;) __atomic_fetch_add(count, 1, __ATOMIC_SEQ_CST));
	in_motion();
	int status;
	while (moving()) {
		OK(kill(kid, SIGSTOP));
		EQ(waitpid(kid, &status, WUNTRACED), kid);
		if (!WIFSTOPPED(status) || WSTOPSIG(status) != SIGSTOP)
			FAIL("status %#x in place of a stop", status);
		uint64_t before = __atomic_load_n(count, __ATOMIC_SEQ_CST);
		sched_yield();
		EQ(__atomic_load_n(count, __ATOMIC_SEQ_CST), before);
		OK(kill(kid, SIGCONT));
		/* That it goes on is not waited for: a report that nobody has fetched is not restored. */
		for (int i = 0; __atomic_load_n(count, __ATOMIC_SEQ_CST) == before; i++) {
			if (i > 100000)
				FAIL("it does not run on");
			usleep(100);
		}
		step();
	}
	OK(kill(kid, SIGKILL));
	EQ(waitpid(kid, &status, 0), kid);
	return pass();
}
