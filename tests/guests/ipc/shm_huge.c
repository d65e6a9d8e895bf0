/* A segment of huge pages. */
#include "../shm.h"
#define HUGE (2UL << 20)
int main(void)
{
	int id = shmget(IPC_PRIVATE, 3 * HUGE, IPC_CREAT | SHM_HUGETLB | (21 << 26) | 0600);
	if (id < 0)
		SKIP("shmget with SHM_HUGETLB: %s", strerror(errno));
	void *at = shmat(id, NULL, 0);
	OK(shmctl(id, IPC_RMID, NULL));
	if (at == (void *)-1)
		SKIP("shmat of huge pages: %s", strerror(errno));
	char *p = at;
	fill(p, 2 * PAGE, 9);
	p[2 * HUGE + 12345] = 'h';
	struct shmid_ds was = shm_state(id);
	checkpoint();
	shm_same(was, shm_state(id));
	CHECK(vm_flag(p, "ht"));
	filled(p, 2 * PAGE, 9, "huge pages");
	zeroed(p + HUGE, PAGE, "an untouched huge page");
	EQ(p[2 * HUGE + 12345], 'h');
	return pass();
}
