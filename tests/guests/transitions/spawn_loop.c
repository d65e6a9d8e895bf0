/* Programs started by vfork(2) and execve(2), the way posix_spawn(3) does it, from two threads. */
#include "../motion.h"
#include <pthread.h>
#include <spawn.h>
static char path[PATH_MAX];
static void *spawner(void *arg)
{
	for (unsigned i = 0; moving(); i++) {
		char number[16];
		snprintf(number, sizeof number, "%u", i % 50);
		char *args[] = { path, number, NULL };
		char lab[PATH_MAX + 32];
		snprintf(lab, sizeof lab, "CRIU_TEST_LAB=%s", getenv("CRIU_TEST_LAB") ?: "");
		char *env[] = { lab, NULL };
		pid_t pid;
		int status;
		EQ(posix_spawn(&pid, path, NULL, NULL, args, env), 0);
		while (waitpid(pid, &status, 0) < 0)
			CHECK(errno == EINTR);
		if (!WIFEXITED(status) || WEXITSTATUS(status) != (int)(i % 50))
			FAIL("program %d ended with status %#x", (int)pid, status);
		step();
	}
	return arg;
}
int main(int argc, char **argv)
{
	if (argc > 1)
		_exit(atoi(argv[1]));
	OK(readlink("/proc/self/exe", path, sizeof path - 1));
	motion_begin();
	pthread_t t;
	EQ(pthread_create(&t, NULL, spawner, NULL), 0);
	in_motion();
	spawner(NULL);
	EQ(pthread_join(t, NULL), 0);
	return pass();
}
