/* A mapping of a child that mprotect(2) has split becomes one again, as mremap(2) needs it, though its parent has a
 * mapping where the first part is. */
#include "../guest.h"
static void map_at(char *at, size_t len)
{
	int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE;
	CHECK(mmap(at, len, PROT_READ | PROT_WRITE, flags, -1, 0) == at);
}
int main(void)
{
	struct latch l = latch_new();
	/* Room with an end that nothing else comes to. */
	char *room = map(16 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	OK(munmap(room + 4 * PAGE, 8 * PAGE));
	char *at = room + 6 * PAGE;
	pid_t kid = OK(fork());
	if (!kid) {
		map_at(at, 3 * PAGE);
		fill(at, 3 * PAGE, 1);
		OK(mprotect(at + PAGE, PAGE, PROT_READ));
		latch_open(l);
		wait_go();
		OK(mprotect(at + PAGE, PAGE, PROT_READ | PROT_WRITE));
		char *moved = mremap(at, 3 * PAGE, 4 * PAGE, MREMAP_MAYMOVE);
		CHECK(moved != MAP_FAILED);
		filled(moved, 3 * PAGE, 1, "the child's mapping");
		_exit(0);
	}
	map_at(at, PAGE);
	fill(at, PAGE, 2);
	latch_wait(l);
	checkpoint();
	filled(at, PAGE, 2, "the parent's mapping");
	reap_ok(kid);
	return pass();
}
