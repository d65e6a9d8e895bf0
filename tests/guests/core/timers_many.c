/* Thousands of POSIX timers, gaps among their ids, one with a huge id. */
#include "../guest.h"
#define N 10000
static int id[N];
int main(void)
{
	struct sigevent se = { .sigev_notify = SIGEV_NONE };
	for (int i = 0; i < N; i++) {
		se.sigev_value.sival_int = i;
		OK(syscall(SYS_timer_create, CLOCK_MONOTONIC, &se, &id[i]));
		struct itimerspec it = { { i, 5 }, { 100000 + i, 0 } };
		OK(syscall(SYS_timer_settime, id[i], 0, &it, NULL));
	}
	for (int i = 0; i < N; i += 3)
		OK(syscall(SYS_timer_delete, id[i]));
	int huge = 0x7ffffff0;
	if (!prctl(77 /* PR_TIMER_CREATE_RESTORE_IDS */, 1, 0, 0, 0)) {
		OK(syscall(SYS_timer_create, CLOCK_BOOTTIME, &se, &huge));
		EQ(huge, 0x7ffffff0);
		OK(prctl(77, 0, 0, 0, 0));
	} else
		huge = -1;
	checkpoint();
	for (int i = 0; i < N; i++) {
		struct itimerspec it;
		if (i % 3 == 0) {
			ERR(syscall(SYS_timer_gettime, id[i], &it), EINVAL);
			continue;
		}
		OK(syscall(SYS_timer_gettime, id[i], &it));
		EQ(it.it_interval.tv_sec, i);
		EQ(it.it_interval.tv_nsec, 5);
		CHECK(it.it_value.tv_sec <= 100000 + i && it.it_value.tv_sec > 99000 + i);
	}
	if (huge != -1)
		OK(syscall(SYS_timer_delete, huge));
	return pass();
}
