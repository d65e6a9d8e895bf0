/* Sets of semaphores and queues of messages belong to the machine: they are there after the restore, as they were. */
#include "../shm.h"
struct note {
	long type;
	char text[20];
};
int main(void)
{
	int sem = OK(semget(own_key(1), 3, IPC_CREAT | IPC_EXCL | 0600));
	OK(semctl(sem, 1, SETVAL, (union semun){ .val = 9 }));
	int queue = OK(msgget(own_key(2), IPC_CREAT | IPC_EXCL | 0600));
	OK(msgsnd(queue, &(struct note){ 5, "five" }, 20, 0));
	OK(msgsnd(queue, &(struct note){ 3, "three" }, 20, 0));
	int shm = OK(shmget(own_key(3), PAGE, IPC_CREAT | IPC_EXCL | 0600));
	checkpoint();
	EQ(semctl(sem, 1, GETVAL), 9);
	struct note n;
	EQ(msgrcv(queue, &n, 20, 3, IPC_NOWAIT), 20);
	STR_EQ(n.text, "three");
	EQ(msgrcv(queue, &n, 20, 0, IPC_NOWAIT), 20);
	EQ(n.type, 5);
	OK(semctl(sem, 0, IPC_RMID));
	OK(msgctl(queue, IPC_RMID, NULL));
	OK(shmctl(shm, IPC_RMID, NULL));
	return pass();
}
