/* Named semaphores of sem_open(3), shared by processes, and an unnamed one in shared memory: values, and who waits. */
#include "../guest.h"
#include <semaphore.h>
int main(void)
{
	char name[64];
	snprintf(name, sizeof name, "/guest-sem-%d", (int)getpid());
	sem_t *named = sem_open(name, O_CREAT | O_EXCL, 0600, 3);
	CHECK(named != SEM_FAILED);
	sem_t *again = sem_open(name, 0);
	CHECK(again == named);
	char other[80];
	snprintf(other, sizeof other, "%s-gone", name);
	sem_t *gone = sem_open(other, O_CREAT | O_EXCL, 0600, 0);
	CHECK(gone != SEM_FAILED);
	OK(sem_unlink(other));
	sem_t *unnamed = map(PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	OK(sem_init(unnamed, 1, 0));
	OK(sem_wait(named));
	struct latch l = latch_new();
	pid_t child = OK(fork());
	if (!child) {
		latch_open(l);
		while (sem_wait(gone))
			EQ(errno, EINTR);
		OK(sem_wait(named));
		OK(sem_post(unnamed));
		_exit(0);
	}
	latch_wait(l);
	checkpoint();
	int value;
	OK(sem_getvalue(named, &value));
	EQ(value, 2);
	OK(sem_post(gone));
	while (sem_wait(unnamed))
		EQ(errno, EINTR);
	reap_ok(child);
	OK(sem_getvalue(named, &value));
	EQ(value, 1);
	OK(sem_close(named));
	OK(sem_unlink(name));
	return pass();
}
