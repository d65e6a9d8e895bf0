/* A segment that is to go with its last attachment (IPC_RMID) comes back under its id, and still goes. */
#include "../shm.h"
int main(void)
{
	int id = OK(shmget(own_key(1), 3 * PAGE, IPC_CREAT | IPC_EXCL | 0600));
	char *p = attach(id, NULL, 0), *q = attach(id, NULL, SHM_RDONLY);
	fill(p, 3 * PAGE, 1);
	OK(shmctl(id, IPC_RMID, NULL));
	struct shmid_ds was = shm_state(id);
	CHECK(was.shm_perm.mode & SHM_DEST);
	checkpoint();
	struct shmid_ds is = shm_state(id);
	shm_same(was, is);
	EQ(is.shm_dtime, 0);
	filled(q, 3 * PAGE, 1, "the segment");
	p[0] = 'x';
	EQ(q[0], 'x');
	OK(shmdt(p));
	OK(shmdt(q));
	ERR(shmctl(id, IPC_STAT, &is), EINVAL);
	return pass();
}
