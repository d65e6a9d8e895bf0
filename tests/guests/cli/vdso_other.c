/* Calls into the vdso, whose own bytes may be another kernel's. */
#include "../guest.h"
#include <sys/auxv.h>
int main(void)
{
	unsigned cpu, node;
	unsigned long base = getauxval(AT_SYSINFO_EHDR);
	double mono = now(CLOCK_MONOTONIC), real = now(CLOCK_REALTIME), boot = now(CLOCK_BOOTTIME);
	checkpoint();
	CHECK(!memcmp((void *)base, "\177ELF", 4));
	struct timespec t, s;
	for (int i = 0; i < 1000; i++) {
		static const clockid_t clocks[] = { CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_BOOTTIME, CLOCK_TAI };
		OK(clock_gettime(clocks[i % 4], &t));
		OK(syscall(SYS_clock_gettime, clocks[i % 4], &s));
		double d = (s.tv_sec - t.tv_sec) + (s.tv_nsec - t.tv_nsec) / 1e9;
		CHECK(d >= 0 && d < 5);
	}
	CHECK(now(CLOCK_MONOTONIC) > mono && now(CLOCK_MONOTONIC) < mono + 300);
	CHECK(now(CLOCK_REALTIME) > real && now(CLOCK_BOOTTIME) > boot);
	OK(clock_getres(CLOCK_MONOTONIC, &t));
	struct timeval tv;
	OK(gettimeofday(&tv, NULL));
	CHECK(llabs((long long)tv.tv_sec - (long long)time(NULL)) <= 1);
	OK(getcpu(&cpu, &node));
	CHECK(cpu < 4096);
	return pass();
}
