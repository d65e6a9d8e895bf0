/* Parent, child and grandchild have a segment attached; one of them at other addresses, one twice. */
#include "../shm.h"
static void await(volatile char *c, char want)
{
	while (*c != want)
		usleep(200);
}
int main(void)
{
	int id = OK(shmget(own_key(1), PAGE, IPC_CREAT | IPC_EXCL | 0600));
	char *p = attach(id, NULL, 0);
	strcpy(p + 100, "together");
	struct latch l = latch_new();
	pid_t child = OK(fork());
	if (!child) {
		struct latch m = latch_new();
		pid_t grandchild = OK(fork());
		if (!grandchild) {
			OK(shmdt(p));
			char *q = attach(id, NULL, 0), *r = attach(id, NULL, SHM_RDONLY);
			latch_open(m);
			await(q, 'a');
			STR_EQ(r + 100, "together");
			q[0] = 'b';
			_exit(0);
		}
		latch_wait(m);
		latch_open(l);
		await(p, 'b');
		reap_ok(grandchild);
		p[0] = 'c';
		_exit(0);
	}
	latch_wait(l);
	struct shmid_ds was = shm_state(id);
	EQ(was.shm_nattch, 4);
	checkpoint();
	shm_same(was, shm_state(id));
	p[0] = 'a';
	await(p, 'c');
	reap_ok(child);
	EQ(shm_state(id).shm_nattch, 1);
	OK(shmctl(id, IPC_RMID, NULL));
	return pass();
}
