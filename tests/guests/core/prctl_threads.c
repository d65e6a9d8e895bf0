/* What prctl(2) sets for a thread alone: time-stamp counter, machine checks, speculation, timer of death. */
#include "../guest.h"
#include <pthread.h>
static pthread_barrier_t set, go;
static int spec_of(int which)
{
	return prctl(PR_GET_SPECULATION_CTRL, which, 0, 0, 0);
}
static bool controls(int which)
{
	int now_ = spec_of(which);
	return now_ > 0 && (now_ & PR_SPEC_PRCTL);
}
static void *run(void *arg)
{
	int tsc = 0;
	OK(prctl(PR_SET_TSC, PR_TSC_SIGSEGV, 0, 0, 0));
	OK(prctl(PR_MCE_KILL, PR_MCE_KILL_SET, PR_MCE_KILL_EARLY, 0, 0));
	bool store = controls(PR_SPEC_STORE_BYPASS), branch = controls(PR_SPEC_INDIRECT_BRANCH);
	if (store)
		OK(prctl(PR_SET_SPECULATION_CTRL, PR_SPEC_STORE_BYPASS, PR_SPEC_DISABLE, 0, 0));
	if (branch)
		OK(prctl(PR_SET_SPECULATION_CTRL, PR_SPEC_INDIRECT_BRANCH, PR_SPEC_FORCE_DISABLE, 0, 0));
	pthread_barrier_wait(&set);
	pthread_barrier_wait(&go);
	OK(prctl(PR_GET_TSC, &tsc, 0, 0, 0));
	EQ(tsc, PR_TSC_SIGSEGV);
	EQ(prctl(PR_MCE_KILL_GET, 0, 0, 0, 0), PR_MCE_KILL_EARLY);
	if (store)
		EQ(spec_of(PR_SPEC_STORE_BYPASS), PR_SPEC_PRCTL | PR_SPEC_DISABLE);
	if (branch)
		EQ(spec_of(PR_SPEC_INDIRECT_BRANCH) & ~PR_SPEC_PRCTL, PR_SPEC_FORCE_DISABLE);
	return arg;
}
int main(void)
{
	int tsc = 0, store = spec_of(PR_SPEC_STORE_BYPASS);
	pthread_t t;
	pthread_barrier_init(&set, NULL, 2);
	pthread_barrier_init(&go, NULL, 2);
	pthread_create(&t, NULL, run, NULL);
	pthread_barrier_wait(&set);
	OK(prctl(PR_MCE_KILL, PR_MCE_KILL_SET, PR_MCE_KILL_LATE, 0, 0));
	checkpoint();
	OK(prctl(PR_GET_TSC, &tsc, 0, 0, 0));
	EQ(tsc, PR_TSC_ENABLE);
	EQ(prctl(PR_MCE_KILL_GET, 0, 0, 0, 0), PR_MCE_KILL_LATE);
	EQ(spec_of(PR_SPEC_STORE_BYPASS), store);
	pthread_barrier_wait(&go);
	pthread_join(t, NULL);
	return pass();
}
