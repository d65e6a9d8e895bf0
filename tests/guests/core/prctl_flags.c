/* Name, dumpable, no_new_privs, THP, subreaper, oom score, umask, personality. */
#include "../guest.h"
#include <sys/personality.h>
int main(void)
{
	char name[17] = "";
	OK(prctl(PR_SET_NAME, "a \\n)( name"));
	OK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	OK(prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0));
	OK(prctl(PR_SET_CHILD_SUBREAPER, 1));
	OK(personality(ADDR_COMPAT_LAYOUT | UNAME26));
	OK(put("/proc/self/oom_score_adj", "345"));
	umask(0137);
	struct latch l = latch_new();
	pid_t child = OK(fork()); /* one that is not dumpable, with values of its own */
	if (!child) {
		OK(prctl(PR_SET_DUMPABLE, 0));
		OK(prctl(PR_SET_THP_DISABLE, 0, 0, 0, 0));
		umask(0);
		personality(0);
		latch_open(l);
		wait_go();
		EQ(prctl(PR_GET_DUMPABLE), 0);
		EQ(prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0), 0);
		EQ(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), 1);
		int sub = -1;
		OK(prctl(PR_GET_CHILD_SUBREAPER, &sub));
		EQ(sub, 0);
		EQ(umask(0), 0);
		EQ(personality(0xffffffff), 0);
		_exit(0);
	}
	latch_wait(l);
	checkpoint();
	prctl(PR_GET_NAME, name);
	STR_EQ(name, "a \\n)( name");
	EQ(prctl(PR_GET_DUMPABLE), 1);
	EQ(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), 1);
	EQ(prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0), 1);
	int sub = 0;
	OK(prctl(PR_GET_CHILD_SUBREAPER, &sub));
	EQ(sub, 1);
	EQ(personality(0xffffffff), ADDR_COMPAT_LAYOUT | UNAME26);
	char text[16] = "";
	int fd = OK(open("/proc/self/oom_score_adj", O_RDONLY));
	OK(read(fd, text, 15));
	EQ(atoi(text), 345);
	EQ(umask(0), 0137);
	reap_ok(child);
	return pass();
}
