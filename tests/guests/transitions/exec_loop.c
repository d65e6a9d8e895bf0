/* A process that executes itself over and over, and one whose children do. */
#include "../motion.h"
#include <sys/auxv.h>
static char path[PATH_MAX];
static void again(unsigned long count, const char *role)
{
	char number[32], mark[64];
	snprintf(number, sizeof number, "%lu", count);
	snprintf(mark, sizeof mark, "MARK=%lu", count * 7);
	char *args[] = { path, number, (char *)role, NULL }, *env[] = { mark, getenv("LAB") ?: "LAB=", NULL };
	char lab[PATH_MAX + 32];
	if (getenv("CRIU_TEST_LAB")) {
		snprintf(lab, sizeof lab, "CRIU_TEST_LAB=%s", getenv("CRIU_TEST_LAB"));
		env[1] = lab;
	}
	execve(path, args, env);
	FAIL("execve: %s", strerror(errno));
}
int main(int argc, char **argv)
{
	OK(readlink("/proc/self/exe", path, sizeof path - 1));
	motion_begin();
	if (argc < 3) {
		pid_t loop = CHILD(again(0, "loop"));
		in_motion();
		unsigned long i;
		for (i = 0; still_moving(); i++) {
			pid_t once = CHILD(again(i, "once"));
			int status;
			EQ(waitpid(once, &status, 0), once);
			if (!WIFEXITED(status) || WEXITSTATUS(status) != (int)(i % 100))
				FAIL("the child %d of turn %lu ended with status %#x", (int)once, i, status);
			step();
		}
		reap_ok(loop);
		return pass();
	}
	unsigned long count = strtoul(argv[1], NULL, 10);
	EQ(strtoul(getenv("MARK"), NULL, 10), count * 7);
	STR_EQ((char *)getauxval(AT_EXECFN), path);
	if (!strcmp(argv[2], "once"))
		_exit(count % 100);
	step();
	if (!still_moving())
		_exit(0);
	again(count + 1, "loop");
}
