/* Confined by Landlock: this process, or what another guest asks for: a process of another user, one thread of several. */
#include "../guest.h"
#include <linux/landlock.h>
#include <pthread.h>
static volatile int confined;
static void confine(void)
{
	struct landlock_ruleset_attr attr = { .handled_access_fs = LANDLOCK_ACCESS_FS_EXECUTE };
	OK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	int rules = OK(syscall(SYS_landlock_create_ruleset, &attr, sizeof attr, 0));
	OK(syscall(SYS_landlock_restrict_self, rules, 0));
	close(rules);
}
static void *thread(void *unused)
{
	confine();
	confined = 1;
	pause();
	return unused;
}
int main(void)
{
	if (syscall(SYS_landlock_create_ruleset, NULL, 0, 1) < 1)
		SKIP("no Landlock: %s", strerror(errno));
#if defined ONE_THREAD
	pthread_t t;
	EQ(pthread_create(&t, NULL, thread, NULL), 0);
	while (!confined)
		sched_yield();
#elif defined OTHER_USER
	(void)thread;
	struct latch l = latch_new();
	pid_t child = OK(fork());
	if (!child) {
		latch_open(l);
		OK(setresgid(4321, 4321, 4321));
		OK(setresuid(4321, 4321, 4321));
		confine();
		raise(SIGSTOP);
		_exit(0);
	}
	latch_wait(l);
	int status;
	EQ(waitpid(child, &status, WUNTRACED), child);
	CHECK(WIFSTOPPED(status));
#else
	(void)thread;
	confine();
#endif
	checkpoint();
#ifdef OTHER_USER
	OK(kill(child, SIGKILL));
	EQ(waitpid(child, NULL, 0), child);
#endif
	return pass();
}
