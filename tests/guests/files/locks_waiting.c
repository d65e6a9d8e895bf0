/* Processes that wait for a lock of each sort: they get it once it is given up. */
#include "../files.h"
#include <sys/file.h>
static bool waits(pid_t pid)
{
	char line[256], word[16];
	snprintf(word, sizeof word, " %d ", pid);
	FILE *f = fopen("/proc/locks", "re");
	bool found = false;
	while (f && fgets(line, sizeof line, f))
		found |= strstr(line, "->") && strstr(line, word);
	fclose(f);
	return found;
}
int main(void)
{
	int posix = made("p", O_RDWR, 0600, ""), flocked = made("f", O_RDWR, 0600, ""), ofd = made("o", O_RDWR, 0600, "");
	struct flock all = {.l_type = F_WRLCK, .l_whence = SEEK_SET}, none = {.l_type = F_UNLCK, .l_whence = SEEK_SET};
	OK(fcntl(posix, F_SETLK, &all));
	OK(flock(flocked, LOCK_EX));
	OK(fcntl(ofd, F_OFD_SETLK, &all));
	pid_t kids[3];
	for (int i = 0; i < 3; i++)
		if (!(kids[i] = OK(fork()))) {
			int own = OK(open(i == 0 ? "p" : i == 1 ? "f" : "o", O_RDWR));
			int got;
			do
				got = i == 1 ? flock(own, LOCK_SH) : fcntl(own, i ? F_OFD_SETLKW : F_SETLKW, &all);
			while (got && errno == EINTR);
			EQ(got, 0);
			_exit(0);
		}
	for (int i = 0; i < 2; i++)
		while (!waits(kids[i]))
			sched_yield();
	while (!waits(-1)) /* the kernel names nobody for such a lock */
		sched_yield();
	checkpoint();
	for (int i = 0; i < 3; i++)
		EQ(waitpid(kids[i], NULL, WNOHANG), 0);
	OK(fcntl(posix, F_SETLK, &none));
	OK(flock(flocked, LOCK_UN));
	OK(fcntl(ofd, F_OFD_SETLK, &none));
	for (int i = 0; i < 3; i++)
		reap_ok(kids[i]);
	return pass();
}
