/* One memfd: a descriptor here, mappings in two processes, and one mapping without any descriptor. */
#include "../guest.h"
int main(void)
{
	int fd = OK(memfd_create("shared", 0)), gone = OK(memfd_create("mapped only", 0));
	OK(ftruncate(fd, 8 * PAGE));
	OK(ftruncate(gone, 4 * PAGE));
	char *p = map(8 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), *q = map(4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, gone, 0);
	char *priv = map(2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, PAGE);
	fill(p, PAGE, 1);
	fill(p + PAGE, PAGE, 2);
	fill(q, 4 * PAGE, 3);
	priv[0] = 'p';
	close(gone);
	struct latch l = latch_new();
	pid_t kid = OK(fork());
	if (!kid) {
		close(fd);
		latch_open(l);
		wait_go();
		filled(q, 4 * PAGE, 3, "the child's view");
		q[0] = 'k';
		p[3 * PAGE] = 'k';
		_exit(0);
	}
	latch_wait(l);
	checkpoint();
	reap_ok(kid);
	filled(p, PAGE, 1, "the mapping");
	EQ(q[0], 'k');
	EQ(priv[0], 'p');
	char c;
	EQ(pread(fd, &c, 1, 3 * PAGE), 1);
	EQ(c, 'k');
	EQ(pwrite(fd, "z", 1, 2 * PAGE), 1);
	EQ(p[2 * PAGE], 'z');
	EQ(priv[PAGE], 'z'); /* a clean page of a private mapping follows */
	EQ(p[PAGE] == 'p', 0);
	return pass();
}
