/* Threads that wait in calls: for a descriptor, for data, for a time, for a word. */
#include "../x32.h"
enum { POLL = 1, READ, SLEEP, REST, WORD, N = WORD };
static volatile int tids[N + 1], set, word, ends[4], done[N + 1];
static long long until, begun;
static void run(int i)
{
	struct {
		int fd;
		short events, got;
	} poll = { ends[0], 1, 0 };
	struct timespec at = { until / 1000000000, until % 1000000000 }, rest = { 0, 50000000 };
	char c = 0;
	__atomic_add_fetch(&set, 1, __ATOMIC_SEQ_CST);
	switch (i) {
	case POLL:
		EQ(CALL(poll, &poll, 1, -1), 1);
		EQ(poll.got, 1);
		break;
	case READ:
		EQ(CALL(read, ends[2], &c, 1), 1);
		EQ(c, 'x');
		break;
	case SLEEP:
		EQ(CALL(clock_nanosleep, 1, 1, &at, 0), 0);
		CHECK(now(1) >= until);
		break;
	case REST:
		/* What is left stands there when a checkpoint or a signal has come between. */
		for (int slept; (slept = CALL(nanosleep, &rest, &rest)); )
			EQ(slept, -4);
		CHECK(now(1) - begun >= 50000000);
		break;
	case WORD:
		break;
	}
	/* None ends before the others: the tree is compared on the way. */
	while (!word) {
		int woken = CALL(futex, &word, 0, 0, 0, 0, 0);
		CHECK(woken == 0 || woken == -11 || woken == -4);
	}
	done[i] = 1;
	CALL(exit, 0);
}
int guest(unsigned *stack)
{
	(void)stack;
	OK(CALL(pipe, &ends[0]));
	OK(CALL(pipe, &ends[2]));
	begun = now(1);
	until = begun + 300000000;
	for (int i = 1; i <= N; i++)
		spawn(run, i, &tids[i]);
	while (set < N)
		CALL(sched_yield);
	checkpoint();
	EQ(done[POLL] + done[READ] + done[WORD], 0);
	EQ(CALL(write, ends[1], "y", 1), 1);
	EQ(CALL(write, ends[3], "x", 1), 1);
	word = 1;
	CALL(futex, &word, 1, 100, 0, 0, 0);
	for (int i = 1; i <= N; i++)
		while (tids[i])
			CALL(sched_yield);
	for (int i = 1; i <= N; i++)
		EQ(done[i], 1);
	return 0;
}
