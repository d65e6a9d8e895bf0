/* Guard regions in memory that is saved with files: shared anonymous memory, a memfd, a shared mapping of a file, memory of
   System V (MADV_GUARD_INSTALL, there since Linux 6.15). They are of one mapping and process alone. */
#include "../guest.h"
#include <sys/ipc.h>
#include <sys/shm.h>
#define GUARD_INSTALL 102
#define GUARD_REMOVE 103
#define KINDS 4
static bool faults(const void *at)
{
	static int null;
	if (!null)
		null = OK(open("null", O_RDWR | O_CREAT, 0600));
	return pwrite(null, at, 1, 0) < 0 && errno == EFAULT;
}
static bool guarded(int page)
{
	return page == 0 || page == 3 || page == 4 || page == 7;
}
int main(void)
{
	char *maps[KINDS];
	int file = OK(open("f", O_CREAT | O_RDWR, 0600)), memory = OK(memfd_create("m", 0));
	OK(ftruncate(file, 8 * PAGE));
	OK(ftruncate(memory, 8 * PAGE));
	int segment = OK(shmget(IPC_PRIVATE, 8 * PAGE, IPC_CREAT | 0600));
	maps[0] = map(8 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	maps[1] = map(8 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
	maps[2] = map(8 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	maps[3] = shmat(segment, NULL, 0);
	CHECK(maps[3] != (void *)-1);
	OK(shmctl(segment, IPC_RMID, NULL));
	char *again = map(8 * PAGE, PROT_READ, MAP_SHARED, memory, 0);
	for (int kind = 0; kind < KINDS; kind++) {
		fill(maps[kind], 8 * PAGE, kind + 1);
		for (int page = 0; page < 8; page++)
			if (guarded(page) && madvise(maps[kind] + page * PAGE, PAGE, GUARD_INSTALL))
				SKIP("the kernel has no guard regions in shared memory (Linux 6.15)");
	}
	struct latch l = latch_new();
	pid_t pid = OK(fork());
	if (!pid) { /* of its own, other pages; fork(2) keeps those of the parent */
		OK(madvise(maps[0], 8 * PAGE, GUARD_REMOVE));
		OK(madvise(maps[0] + PAGE, PAGE, GUARD_INSTALL));
		latch_open(l);
		wait_go();
		for (int page = 0; page < 8; page++)
			EQ(faults(maps[0] + page * PAGE), page == 1);
		_exit(0);
	}
	latch_wait(l);
	checkpoint();
	for (int kind = 0; kind < KINDS; kind++)
		for (int page = 0; page < 8; page++)
			if (faults(maps[kind] + page * PAGE) != guarded(page))
				FAIL("page %d of mapping %d %s", page, kind, guarded(page) ? "lost its guard" : "faults");
	filled(again, 8 * PAGE, 2, "another mapping of the memfd");
	for (int kind = 0; kind < KINDS; kind++) {
		OK(madvise(maps[kind], 8 * PAGE, GUARD_REMOVE));
		filled(maps[kind], 8 * PAGE, kind + 1, "what lay behind the guards");
	}
	reap_ok(pid);
	return pass();
}
