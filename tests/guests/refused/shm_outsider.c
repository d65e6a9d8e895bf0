/* A segment of shared memory that a process outside of the tree has attached too. */
#include "../shm.h"
int main(void)
{
	int id = OK(shmget(IPC_PRIVATE, PAGE, 0600));
	char *p = attach(id, NULL, 0);
	OK(shmctl(id, IPC_RMID, NULL));
	struct latch l = latch_new();
	/* The grandchild loses its parent, and so leaves the tree. */
	pid_t child = OK(fork());
	if (!child) {
		if (OK(fork()))
			_exit(0);
		OK(setsid());
		latch_open(l);
		while (p[0] != 'e')
			usleep(200);
		_exit(0);
	}
	reap_ok(child);
	latch_wait(l);
	checkpoint();
	p[0] = 'e';
	return pass();
}
