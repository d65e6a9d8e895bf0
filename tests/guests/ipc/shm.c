/* A segment with a key comes back with its contents at its address, and can be attached again. */
#include "../shm.h"
int main(void)
{
	size_t len = 5 * PAGE - 700;
	int id = OK(shmget(own_key(1), len, IPC_CREAT | IPC_EXCL | 0640));
	char *p = attach(id, NULL, 0);
	fill(p, 2 * PAGE, 3);
	p[len - 1] = 'z';
	struct shmid_ds was = shm_state(id);
	checkpoint();
	shm_same(was, shm_state(id));
	EQ(OK(shmget(own_key(1), 0, 0)), id);
	filled(p, 2 * PAGE, 3, "the segment");
	zeroed(p + 2 * PAGE, 2 * PAGE, "its untouched pages");
	EQ(p[len - 1], 'z');
	CHECK(strstr(maps_line(p), "/SYSV"));
	char *q = attach(id, NULL, 0);
	p[0] = 'x';
	EQ(q[0], 'x');
	OK(shmdt(q));
	OK(shmdt(p));
	EQ(shm_state(id).shm_nattch, 0);
	OK(shmctl(id, IPC_RMID, NULL));
	ERR(shmctl(id, IPC_STAT, &was), EINVAL);
	return pass();
}
