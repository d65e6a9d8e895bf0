/* Two processes with one table of descriptors (CLONE_FILES). */
#include "../guest.h"
static char stack[32 << 10];
static int child(void *arg)
{
	(void)arg;
	wait_go();
	/* what this opens the parent sees */
	int fd = OK(open("/dev/zero", O_RDONLY));
	OK(dup2(fd, 50));
	return 0;
}
int main(void)
{
	pid_t pid = OK(clone(child, stack + sizeof stack, CLONE_FILES | SIGCHLD, NULL));
	checkpoint();
	reap_ok(pid);
	char c = 1;
	EQ(read(50, &c, 1), 1);
	EQ(c, 0);
	return pass();
}
