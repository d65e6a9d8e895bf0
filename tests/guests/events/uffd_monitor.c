/* Monitors in other processes: the parent handles the faults of a child, which has sent it the descriptor and closed it,
   and a child those of its parent, from which it has inherited the descriptor. All have mappings at the same address. */
#include "../uffd.h"
#include "../unix_rights.h"
#define PAGES 8
static char *area;
static void serve(int fd, int count, unsigned seed)
{
	while (count--) {
		char *page = uffd_fault(fd, 0);
		uffd_copy(fd, page, seed + (page - area) / PAGE);
	}
}
static void touch(int first, int last, unsigned seed)
{
	for (int i = first; i < last; i++)
		filled(area + i * PAGE, PAGE, seed + i, "a page on demand");
}
int main(void)
{
	needs_pagemap_scan();
	int pair[2];
	area = map(PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	OK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair));
	struct latch ready = latch_new(), served = latch_new();
	pid_t child = OK(fork());
	if (!child) {
		int fd = uffd(O_CLOEXEC | O_NONBLOCK, 0);
		uffd_register(fd, area, PAGES * PAGE, UFFDIO_REGISTER_MODE_MISSING);
		send_right(pair[1], "fd", fd);
		close(fd);
		latch_open(ready);
		touch(0, 3, 100);
		latch_open(served);
		wait_go();
		touch(0, PAGES, 100);
		_exit(0);
	}
	latch_wait(ready);
	int theirs = recv_right(pair[0], "fd");
	serve(theirs, 3, 100);
	latch_wait(served);
	int mine = uffd(O_CLOEXEC | O_NONBLOCK, 0);
	uffd_register(mine, area, PAGES * PAGE, UFFDIO_REGISTER_MODE_MISSING);
	pid_t monitor = OK(fork());
	if (!monitor) {
		close(theirs);
		serve(mine, 2, 200);
		latch_open(served);
		wait_go();
		serve(mine, PAGES - 2, 200);
		_exit(0);
	}
	touch(0, 2, 200);
	latch_wait(served);
	checkpoint();
	CHECK(vm_flag(area, "um"));
	EQ(syscall(SYS_kcmp, getpid(), monitor, 0 /* KCMP_FILE */, mine, mine), 0);
	serve(theirs, PAGES - 3, 100);
	reap_ok(child);
	touch(0, PAGES, 200);
	reap_ok(monitor);
	return pass();
}
