/* Leases: held after the restore, and broken by another process's open. */
#include "../guest.h"
int main(void)
{
	int w = OK(open("w", O_CREAT | O_RDWR, 0600));
	close(OK(open("r", O_CREAT | O_RDWR, 0600)));
	int r = OK(open("r", O_RDONLY));
	sigset_t m;
	sigemptyset(&m);
	sigaddset(&m, SIGIO);
	sigprocmask(SIG_BLOCK, &m, NULL);
	if (fcntl(w, F_SETLEASE, F_WRLCK))
		SKIP("no leases on this filesystem: %s", strerror(errno));
	OK(fcntl(r, F_SETLEASE, F_RDLCK));
	checkpoint();
	EQ(fcntl(w, F_GETLEASE), F_WRLCK);
	EQ(fcntl(r, F_GETLEASE), F_RDLCK);
	ERR(open("w", O_RDONLY | O_NONBLOCK), EWOULDBLOCK);
	siginfo_t i;
	struct timespec limit = { 10, 0 };
	EQ(sigtimedwait(&m, &i, &limit), SIGIO);
	EQ(fcntl(w, F_GETLEASE), F_RDLCK);
	OK(fcntl(w, F_SETLEASE, F_UNLCK));
	return pass();
}
