/* Many segments, with and without keys, some detached: those stay on the machine with their contents. */
#include "../shm.h"
#define N 40
int main(void)
{
	static int id[N];
	static char *at[N];
	static struct shmid_ds was[N];
	for (int i = 0; i < N; i++) {
		id[i] = OK(shmget(i % 3 ? IPC_PRIVATE : own_key(i / 3), (i + 1) * 1000, IPC_CREAT | IPC_EXCL | 0600));
		at[i] = attach(id[i], NULL, i % 2 ? SHM_RND : 0);
		memset(at[i], i + 1, (i + 1) * 1000);
		if (i % 5 == 4)
			OK(shmdt(at[i]));
		else if (i % 4 == 3)
			OK(shmctl(id[i], IPC_RMID, NULL));
	}
	for (int i = 0; i < N; i++)
		was[i] = shm_state(id[i]);
	checkpoint();
	for (int i = 0; i < N; i++) {
		shm_same(was[i], shm_state(id[i]));
		if (i % 5 == 4)
			at[i] = attach(id[i], NULL, SHM_RDONLY);
		for (int j = 0; j < (i + 1) * 1000; j++)
			EQ(at[i][j], i + 1);
		OK(shmdt(at[i]));
		if (i % 5 == 4 || i % 4 != 3)
			OK(shmctl(id[i], IPC_RMID, NULL));
	}
	return pass();
}
