/* flock: shared and exclusive, held by the description. */
#include "../guest.h"
#include <sys/file.h>
int main(void)
{
	int a = OK(open("x", O_CREAT | O_RDWR, 0600)), b = OK(open("s", O_CREAT | O_RDWR, 0600)), b2 = OK(open("s", O_RDONLY));
	OK(flock(a, LOCK_EX));
	OK(flock(b, LOCK_SH));
	OK(flock(b2, LOCK_SH));
	struct latch l = latch_new();
	pid_t kid = OK(fork()); /* shares the description, so the lock */
	if (!kid) {
		latch_open(l);
		wait_go();
		OK(flock(a, LOCK_EX | LOCK_NB));
		_exit(0);
	}
	latch_wait(l);
	checkpoint();
	int a2 = OK(open("x", O_RDWR)), b3 = OK(open("s", O_RDWR));
	ERR(flock(a2, LOCK_SH | LOCK_NB), EWOULDBLOCK);
	OK(flock(b3, LOCK_SH | LOCK_NB));
	ERR(flock(b3, LOCK_EX | LOCK_NB), EWOULDBLOCK);
	OK(flock(b, LOCK_UN));
	OK(flock(b2, LOCK_UN));
	OK(flock(b3, LOCK_EX | LOCK_NB));
	reap_ok(kid);
	OK(flock(a, LOCK_UN));
	OK(flock(a2, LOCK_EX | LOCK_NB));
	return pass();
}
