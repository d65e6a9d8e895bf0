/* A directory that is watched in the old way. */
#include "../guest.h"
int main(void)
{
	int fd = OK(open(".", O_RDONLY | O_DIRECTORY));
	sigset_t m;
	sigemptyset(&m);
	sigaddset(&m, SIGRTMIN);
	sigprocmask(SIG_BLOCK, &m, NULL);
	OK(fcntl(fd, F_SETSIG, SIGRTMIN));
	if (fcntl(fd, F_NOTIFY, DN_CREATE | DN_MULTISHOT))
		SKIP("no dnotify: %s", strerror(errno));
	checkpoint();
	close(OK(open("new", O_CREAT | O_RDWR, 0600)));
	siginfo_t i;
	struct timespec limit = {10, 0};
	EQ(sigtimedwait(&m, &i, &limit), SIGRTMIN);
	EQ(i.si_fd, fd);
	return pass();
}
