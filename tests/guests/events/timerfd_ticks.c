/* A timerfd that ticks through the checkpoint: no expiration is lost before it, it goes on after it. */
#include "../guest.h"
#include <sys/timerfd.h>
int main(void)
{
	int t = OK(timerfd_create(CLOCK_MONOTONIC, 0));
	struct itimerspec it = { { 0, 20000000 }, { 0, 20000000 } };
	OK(timerfd_settime(t, 0, &it, NULL));
	double begin = now(CLOCK_MONOTONIC);
	while (now(CLOCK_MONOTONIC) < begin + 0.1)
		;
	checkpoint();
	uint64_t n = 0, more = 0;
	EQ(read(t, &n, 8), 8);
	CHECK(n >= 4); /* those before the checkpoint at least */
	CHECK(n <= (now(CLOCK_MONOTONIC) - begin) / 0.02 + 2);
	for (int i = 0; i < 3; i++) {
		EQ(read(t, &more, 8), 8);
		CHECK(more >= 1);
	}
	return pass();
}
