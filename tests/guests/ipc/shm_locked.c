/* Attachments that are locked and advised. */
#include "../shm.h"
int main(void)
{
	int id = OK(shmget(IPC_PRIVATE, 4 * PAGE, 0600));
	char *p = attach(id, NULL, 0), *q = attach(id, NULL, 0);
	OK(shmctl(id, IPC_RMID, NULL));
	if (mlock(p, 4 * PAGE))
		SKIP("mlock: %s", strerror(errno));
	OK(syscall(SYS_mlock2, q, 4 * PAGE, 1 /* MLOCK_ONFAULT */));
	/* Older kernels do not show it. */
	bool told = vm_flag(q, "lf");
	OK(madvise(p, 4 * PAGE, MADV_DONTFORK));
	OK(madvise(q, 4 * PAGE, MADV_SEQUENTIAL));
	p[PAGE] = 'l';
	checkpoint();
	CHECK(vm_flag(p, "lo"));
	CHECK(!vm_flag(p, "lf"));
	EQ(vm_flag(q, "lf"), told);
	CHECK(vm_flag(p, "dc"));
	CHECK(vm_flag(q, "sr"));
	EQ(q[PAGE], 'l');
	return pass();
}
