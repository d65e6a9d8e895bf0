/* Every resource limit, soft and hard. */
#include "../guest.h"
int main(void)
{
	struct rlimit set[RLIM_NLIMITS], got;
	for (int i = 0; i < RLIM_NLIMITS; i++) {
		OK(getrlimit(i, &set[i]));
		rlim_t top = set[i].rlim_max;
		if (i == RLIMIT_AS || i == RLIMIT_DATA || i == RLIMIT_STACK || i == RLIMIT_FSIZE)
			set[i].rlim_cur = top < (64ULL << 30) ? top : 64ULL << 30;
		else if (i == RLIMIT_NOFILE)
			set[i] = (struct rlimit){ 777, 888 };
		else if (i == RLIMIT_CORE)
			set[i] = (struct rlimit){ 0, 4096 };
		else if (i == RLIMIT_MSGQUEUE || i == RLIMIT_SIGPENDING)
			set[i] = (struct rlimit){ 1000, 2000 };
		else if (i == RLIMIT_NPROC)
			set[i].rlim_cur = 3000 < top ? 3000 : top;
		OK(setrlimit(i, &set[i]));
	}
	checkpoint();
	for (int i = 0; i < RLIM_NLIMITS; i++) {
		OK(getrlimit(i, &got));
		if (got.rlim_cur != set[i].rlim_cur || got.rlim_max != set[i].rlim_max)
			FAIL("limit %d is %llu/%llu, expected %llu/%llu", i, (unsigned long long)got.rlim_cur,
			     (unsigned long long)got.rlim_max, (unsigned long long)set[i].rlim_cur,
			     (unsigned long long)set[i].rlim_max);
	}
	return pass();
}
