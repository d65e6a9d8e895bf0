/* The plainest process: it sleeps. */
#include "../guest.h"
int main(void)
{
	pid_t pid = getpid(), sid = getsid(0);
	checkpoint();
	EQ(getpid(), pid);
	EQ(getsid(0), sid);
	EQ(syscall(SYS_gettid), pid);
	return pass();
}
