/* Shared memory of shm_open(3): mapped by two processes, read-only in one; a name that is gone; growth after the restore. */
#include "../guest.h"
int main(void)
{
	char name[64];
	snprintf(name, sizeof name, "/guest-shm-%d", (int)getpid());
	int fd = OK(shm_open(name, O_CREAT | O_EXCL | O_RDWR, 0600));
	OK(ftruncate(fd, 3 * PAGE));
	char *p = map(3 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	char *priv = map(PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, PAGE);
	strcpy(p + PAGE, "shared");
	strcpy(priv + 10, "private");
	snprintf(name, sizeof name, "/guest-gone-%d", (int)getpid());
	int gone = OK(shm_open(name, O_CREAT | O_EXCL | O_RDWR, 0600));
	OK(ftruncate(gone, 2 * PAGE));
	char *g = map(2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, gone, 0);
	strcpy(g, "gone");
	OK(shm_unlink(name));
	OK(close(gone));
	struct latch l = latch_new();
	pid_t child = OK(fork());
	if (!child) {
		OK(mprotect(p, 3 * PAGE, PROT_READ));
		latch_open(l);
		while (p[0] != 'g')
			usleep(200);
		STR_EQ(p + PAGE, "shared");
		strcpy(g + PAGE, "from the child");
		_exit(0);
	}
	latch_wait(l);
	checkpoint();
	STR_EQ(g, "gone");
	STR_EQ(priv + 10, "private");
	EQ(p[PAGE + 10], 0);
	p[0] = 'g';
	reap_ok(child);
	STR_EQ(g + PAGE, "from the child");
	OK(ftruncate(fd, 4 * PAGE));
	snprintf(name, sizeof name, "/guest-shm-%d", (int)getpid());
	OK(shm_unlink(name));
	return pass();
}
