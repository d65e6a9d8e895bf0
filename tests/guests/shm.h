/* System V IPC with the checks of a guest. */
#ifndef SHM_H
#define SHM_H
#include "guest.h"
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>

union semun {
	int val;
	struct semid_ds *buf;
	unsigned short *array;
};

/* A key that no other guest has. */
static inline key_t own_key(int n)
{
	return 0x43000000 + ((int)getpid() & 0xfffff) * 16 + n;
}

static inline char *attach(int id, const void *at, int flags)
{
	void *p = shmat(id, at, flags);
	if (p == (void *)-1)
		FAIL("shmat of %d: %s", id, strerror(errno));
	return p;
}

static inline struct shmid_ds shm_state(int id)
{
	struct shmid_ds ds;
	OK(shmctl(id, IPC_STAT, &ds));
	return ds;
}

static inline void shm_same(struct shmid_ds was, struct shmid_ds is)
{
	EQ(is.shm_perm.__key, was.shm_perm.__key);
	EQ(is.shm_perm.uid, was.shm_perm.uid);
	EQ(is.shm_perm.gid, was.shm_perm.gid);
	EQ(is.shm_perm.cuid, was.shm_perm.cuid);
	EQ(is.shm_perm.cgid, was.shm_perm.cgid);
	EQ(is.shm_perm.mode, was.shm_perm.mode);
	EQ(is.shm_segsz, was.shm_segsz);
	EQ(is.shm_nattch, was.shm_nattch);
	EQ(is.shm_cpid, was.shm_cpid);
}
#endif
