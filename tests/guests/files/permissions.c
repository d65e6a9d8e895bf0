/* Files whose mode forbids now what they were opened for, in a directory that lets nobody in, held by a process
 * without privileges. */
#include "../files.h"
int main(void)
{
	OK(mkdir("closed", 0));
	OK(chmod("closed", 0777));
	struct latch l = latch_new();
	pid_t kid = OK(fork());
	if (!kid) {
		OK(setresgid(4321, 4321, 4321));
		OK(setresuid(1234, 1234, 1234));
		int rw = made("closed/rw", O_RDWR, 0600, "kept"), w = made("closed/w", O_WRONLY, 0600, "w"),
		    gone = made("closed/gone", O_RDWR, 0600, "gone"), dir = OK(open("closed", O_RDONLY | O_DIRECTORY));
		OK(fchmod(rw, 0));
		OK(fchmod(w, 0444));
		OK(fchmod(gone, 0));
		OK(unlink("closed/gone"));
		latch_open(l);
		wait_go();
		holds(rw, "kept");
		holds(gone, "gone");
		EQ(stat_of(rw).st_mode, S_IFREG);
		EQ(stat_of(rw).st_uid, 1234);
		EQ(stat_of(gone).st_uid, 1234);
		EQ(stat_of(gone).st_mode, S_IFREG);
		EQ(write(w, "x", 1), 1);
		ERR(openat(dir, "rw", O_RDONLY), EACCES);
		_exit(0);
	}
	latch_wait(l);
	OK(chmod("closed", 0));
	checkpoint();
	reap_ok(kid);
	return pass();
}
