/* A child in the same memory (CLONE_VM without CLONE_THREAD), with its own and with shared signal actions. */
#include "../guest.h"
static char stack[2][65536] __attribute__((aligned(16)));
static volatile int quit;
static int run(void *arg)
{
	while (!quit)
		usleep(1000);
	return arg != NULL;
}
int main(void)
{
	pid_t one = OK(clone(run, stack[0] + 65536, CLONE_VM | SIGCHLD, NULL));
	pid_t two = OK(clone(run, stack[1] + 65536, CLONE_VM | CLONE_SIGHAND | CLONE_FILES | SIGCHLD, NULL));
	checkpoint();
	quit = 1;
	reap_ok(one);
	reap_ok(two);
	return pass();
}
