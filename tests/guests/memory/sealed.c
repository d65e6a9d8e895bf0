/* Sealed mappings (mseal): anonymous, read-only, a file's, shared, executable; contents stay. */
#include "../guest.h"
#ifndef SYS_mseal
#define SYS_mseal 462
#endif
int main(void)
{
	char *rw = map(4 * PAGE, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *ro = map(2 * PAGE, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *shared = map(2 * PAGE, 3, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int fd = OK(open("/proc/self/exe", O_RDONLY));
	char *file = map(PAGE, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0);
	char *none = map(PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	close(fd);
	fill(rw, 4 * PAGE, 1);
	fill(ro, 2 * PAGE, 2);
	fill(shared, 2 * PAGE, 3);
	OK(mprotect(ro, 2 * PAGE, PROT_READ));
	struct latch l = latch_new();
	pid_t child = OK(fork()); /* its mappings are not sealed */
	if (!child) {
		latch_open(l);
		wait_go();
		filled(rw, 4 * PAGE, 1, "the child's");
		OK(munmap(rw, 4 * PAGE));
		_exit(0);
	}
	latch_wait(l);
	if (syscall(SYS_mseal, rw + PAGE, 2 * PAGE, 0)) /* the middle alone */
		SKIP("the kernel has no mseal");
	OK(syscall(SYS_mseal, ro, 2 * PAGE, 0));
	OK(syscall(SYS_mseal, shared, 2 * PAGE, 0));
	OK(syscall(SYS_mseal, file, PAGE, 0));
	OK(syscall(SYS_mseal, none, PAGE, 0));
	checkpoint();
	filled(rw, 4 * PAGE, 1, "private");
	filled(ro, 2 * PAGE, 2, "read-only");
	filled(shared, 2 * PAGE, 3, "shared");
	fill(rw, 4 * PAGE, 9);
	ERR(munmap(rw + PAGE, PAGE), EPERM);
	ERR(mprotect(ro, PAGE, 3), EPERM);
	ERR((long)mremap(shared, 2 * PAGE, 4 * PAGE, MREMAP_MAYMOVE), EPERM);
	ERR(munmap(file, PAGE), EPERM);
	ERR(mprotect(none, PAGE, PROT_READ), EPERM);
	OK(munmap(rw, PAGE));
	OK(munmap(rw + 3 * PAGE, PAGE));
	CHECK(vm_flag(ro, "sl"));
	reap_ok(child);
	return pass();
}
