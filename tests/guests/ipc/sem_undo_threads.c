/* Threads share the undos of their process. */
#include "../shm.h"
#include <pthread.h>
static int id;
static volatile int held, end;
static void *thread(void *arg)
{
	struct sembuf b = { 0, -2, SEM_UNDO };
	OK(semop(id, &b, 1));
	held = 1;
	while (!end)
		usleep(200);
	b.sem_op = 1;
	OK(semop(id, &b, 1));
	return NULL;
}
int main(void)
{
	id = OK(semget(IPC_PRIVATE, 1, 0600));
	OK(semctl(id, 0, SETVAL, (union semun){ .val = 5 }));
	struct latch l = latch_new(), go = latch_new();
	pid_t child = OK(fork());
	if (!child) {
		pthread_t t;
		OK(-pthread_create(&t, NULL, thread, NULL));
		while (!held)
			usleep(200);
		struct sembuf b = { 0, -1, SEM_UNDO };
		OK(semop(id, &b, 1));
		latch_open(l);
		latch_wait(go);
		EQ(semctl(id, 0, GETVAL), 2);
		end = 1;
		OK(-pthread_join(t, NULL));
		EQ(semctl(id, 0, GETVAL), 3);
		_exit(0);
	}
	latch_wait(l);
	checkpoint();
	EQ(semctl(id, 0, GETVAL), 2);
	latch_open(go);
	reap_ok(child);
	EQ(semctl(id, 0, GETVAL), 5);
	OK(semctl(id, 0, IPC_RMID));
	return pass();
}
