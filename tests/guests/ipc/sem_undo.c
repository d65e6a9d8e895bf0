/* Semaphores that are held with SEM_UNDO are held after the restore, and given back at the end of their holder. */
#include "../shm.h"
static void op(int id, int n, int change, int flags)
{
	struct sembuf b = { n, change, flags };
	OK(semop(id, &b, 1));
}
int main(void)
{
	int id = OK(semget(own_key(1), 5, IPC_CREAT | IPC_EXCL | 0600));
	union semun arg = { .array = (unsigned short[]){ 1, 10, 32767, 0, 20000 } };
	OK(semctl(id, 0, SETALL, arg));
	struct latch l = latch_new(), go = latch_new();
	pid_t child = OK(fork());
	if (!child) {
		op(id, 0, -1, SEM_UNDO);
		op(id, 1, -3, SEM_UNDO);
		op(id, 1, -1, 0);
		op(id, 2, -32767, SEM_UNDO);
		op(id, 3, 4, SEM_UNDO);
		op(id, 4, -100, SEM_UNDO);
		op(id, 4, 100, SEM_UNDO);
		latch_open(l);
		latch_wait(go);
		_exit(0);
	}
	latch_wait(l);
	op(id, 1, -2, SEM_UNDO);
	unsigned short now[5], want[5] = { 0, 4, 0, 4, 20000 }, end[5] = { 1, 7, 32767, 0, 20000 };
	arg.array = now;
	checkpoint();
	OK(semctl(id, 0, GETALL, arg));
	for (int i = 0; i < 5; i++)
		EQ(now[i], want[i]);
	EQ(semctl(id, 0, GETPID), child);
	struct sembuf take = { 0, -1, IPC_NOWAIT };
	ERR(semop(id, &take, 1), EAGAIN);
	latch_open(go);
	reap_ok(child);
	OK(semctl(id, 0, GETALL, arg));
	for (int i = 0; i < 5; i++)
		EQ(now[i], end[i]);
	pid_t heir = OK(fork());
	if (!heir) {
		/* Not inherited. */
		_exit(0);
	}
	reap_ok(heir);
	EQ(semctl(id, 1, GETVAL), 7);
	OK(semctl(id, 0, IPC_RMID));
	return pass();
}
