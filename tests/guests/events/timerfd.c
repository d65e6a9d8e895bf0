/* timerfd: every clock, with intervals, unset, absolute, with expirations not yet read. */
#include "../guest.h"
#include <sys/timerfd.h>
static const clockid_t clocks[] = { CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_BOOTTIME, CLOCK_REALTIME_ALARM, CLOCK_BOOTTIME_ALARM };
int main(void)
{
	int fd[5], unset = OK(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK)), past = OK(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK)),
		   once = OK(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC)), absolute = OK(timerfd_create(CLOCK_REALTIME, 0));
	struct itimerspec it;
	for (int i = 0; i < 5; i++) {
		fd[i] = timerfd_create(clocks[i], 0);
		if (fd[i] < 0)
			continue; /* alarm clocks need a clock device */
		it = (struct itimerspec){ { 10 + i, 5 }, { 1000 + i, 0 } };
		OK(timerfd_settime(fd[i], 0, &it, NULL));
	}
	CHECK(fd[0] >= 0 && fd[1] >= 0 && fd[2] >= 0);
	it = (struct itimerspec){ { 1000, 0 }, { 0, 1000 } };
	OK(timerfd_settime(past, 0, &it, NULL)); /* has expired once, then waits for long */
	it = (struct itimerspec){ { 0, 0 }, { 0, 1000 } };
	OK(timerfd_settime(once, 0, &it, NULL));
	struct pollfd p[2] = { { past, POLLIN, 0 }, { once, POLLIN, 0 } };
	while (poll(p, 2, 1000) < 2)
		;
	it = (struct itimerspec){ { 0, 0 }, { time(NULL) + 5000, 0 } };
	OK(timerfd_settime(absolute, TFD_TIMER_ABSTIME, &it, NULL));
	checkpoint();
	for (int i = 0; i < 5; i++) {
		if (fd[i] < 0)
			continue;
		OK(timerfd_gettime(fd[i], &it));
		EQ(it.it_interval.tv_sec, 10 + i);
		EQ(it.it_interval.tv_nsec, 5);
		CHECK(it.it_value.tv_sec <= 1000 + i && it.it_value.tv_sec > 800);
	}
	OK(timerfd_gettime(unset, &it));
	EQ(it.it_value.tv_sec + it.it_value.tv_nsec, 0);
	uint64_t n = 0;
	ERR(read(unset, &n, 8), EAGAIN);
	EQ(read(past, &n, 8), 8);
	EQ(n, 1);
	OK(timerfd_gettime(past, &it));
	EQ(it.it_interval.tv_sec, 1000);
	CHECK(it.it_value.tv_sec > 800 && it.it_value.tv_sec <= 1000);
	EQ(read(once, &n, 8), 8);
	EQ(n, 1);
	OK(timerfd_gettime(once, &it));
	EQ(it.it_value.tv_sec + it.it_value.tv_nsec, 0);
	EQ(fcntl(once, F_GETFD), FD_CLOEXEC);
	OK(timerfd_gettime(absolute, &it));
	CHECK(it.it_value.tv_sec <= 5000 && it.it_value.tv_sec > 4800);
	it = (struct itimerspec){ { 0, 1000000 }, { 0, 1000000 } };
	OK(timerfd_settime(fd[1], 0, &it, NULL));
	EQ(read(fd[1], &n, 8), 8);
	CHECK(n >= 1);
	return pass();
}
