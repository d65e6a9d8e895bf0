/* A pidfd of a process outside of the tree: refused by name. */
#include "../guest.h"
int main(void)
{
	int fd = OK(syscall(SYS_pidfd_open, getppid(), 0));
	checkpoint();
	OK(syscall(SYS_pidfd_send_signal, fd, 0, NULL, 0));
	return pass();
}
