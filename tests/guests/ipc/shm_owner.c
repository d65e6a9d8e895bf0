/* Owner, creator, permissions; the process that has it attached may not attach it any more. */
#include "../shm.h"
int main(void)
{
	OK(setegid(77));
	OK(seteuid(78));
	int id = OK(shmget(own_key(1), PAGE, IPC_CREAT | IPC_EXCL | 0644));
	OK(seteuid(0));
	OK(setegid(0));
	struct shmid_ds ds = shm_state(id);
	ds.shm_perm.uid = 1001;
	ds.shm_perm.gid = 1002;
	ds.shm_perm.mode = 0400;
	OK(shmctl(id, IPC_SET, &ds));
	char *p = attach(id, NULL, 0);
	strcpy(p, "kept");
	OK(shmctl(id, SHM_LOCK, NULL));
	struct shmid_ds was = shm_state(id);
	CHECK(was.shm_perm.mode & SHM_LOCKED);
	struct latch l = latch_new(), go = latch_new();
	pid_t child = OK(fork());
	if (!child) {
		OK(setgid(55));
		OK(setuid(55));
		latch_open(l);
		latch_wait(go);
		ERR((long)shmat(id, NULL, 0), EACCES);
		STR_EQ(p, "kept");
		strcpy(p, "seen");
		_exit(0);
	}
	latch_wait(l);
	was = shm_state(id);
	checkpoint();
	shm_same(was, shm_state(id));
	latch_open(go);
	reap_ok(child);
	STR_EQ(p, "seen");
	OK(shmctl(id, IPC_RMID, NULL));
	return pass();
}
