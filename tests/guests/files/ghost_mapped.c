/* A deleted file that is mapped, shared and private, and by nobody open. */
#include "../files.h"
int main(void)
{
	int fd = OK(open("m", O_CREAT | O_RDWR, 0600));
	OK(ftruncate(fd, 4 * PAGE));
	char *shared = map(4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0),
	     *private = map(2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, PAGE);
	fill(shared, 4 * PAGE, 17);
	fill(private, PAGE, 18);
	close(fd);
	OK(unlink("m"));
	struct latch l = latch_new();
	pid_t kid = OK(fork());
	if (!kid) {
		latch_open(l);
		wait_go();
		while (shared[0] != 'k')
			sched_yield();
		shared[1] = 'c';
		_exit(0);
	}
	latch_wait(l);
	checkpoint();
	filled(shared, 4 * PAGE, 17, "the shared mapping");
	filled(private, PAGE, 18, "what was written privately");
	CHECK(!memcmp(private + PAGE, shared + 2 * PAGE, PAGE));
	shared[2 * PAGE] = 'v';
	EQ(private[PAGE], 'v'); /* not written to: still the file's */
	shared[0] = 'k';
	reap_ok(kid);
	EQ(shared[1], 'c');
	CHECK(strstr(maps_line(shared), "/m (deleted)"));
	ERR(access("m", F_OK), ENOENT);
	return pass();
}
