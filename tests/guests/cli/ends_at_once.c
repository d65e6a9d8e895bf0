/* Processes whose leader ends all, or replaces the program, as soon as it runs again: before the others of the forty
 * threads are let go. */
#include "../guest.h"
#include <pthread.h>
static void *wait_forever(void *arg)
{
	for (;;)
		pause();
	return arg;
}
static void sleeps(pid_t pid)
{
	char path[64], text[16] = "";
	snprintf(path, sizeof path, "/proc/%d/syscall", (int)pid);
	do {
		int fd = OK(open(path, O_RDONLY | O_CLOEXEC));
		OK(read(fd, text, sizeof text - 1));
		close(fd);
	} while (atoi(text) != SYS_clock_nanosleep);
}
static pid_t start(bool replaces)
{
	pid_t pid = OK(fork());
	if (!pid) {
		struct timespec t = { 1000, 0 };
		pthread_t thread;
		for (int i = 0; i < 40; i++)
			EQ(pthread_create(&thread, NULL, wait_forever, NULL), 0);
		/* No signal comes: what ends the sleep is the restore, behind which it cannot be continued. */
		EQ(clock_nanosleep(CLOCK_MONOTONIC, 0, &t, NULL), EINTR);
		if (replaces)
			execl("/bin/sh", "sh", "-c", "exit 34", (char *)NULL);
		exit(33);
	}
	sleeps(pid);
	return pid;
}
int main(void)
{
	pid_t ends = start(false), replaces = start(true);
	checkpoint();
	int status;
	EQ(waitpid(ends, &status, 0), ends);
	EQ(status, 33 << 8);
	EQ(waitpid(replaces, &status, 0), replaces);
	EQ(status, 34 << 8);
	return pass();
}
