/* Leases in the middle of being broken: a write lease for a reader and for a writer, a read lease for a writer who
 * waits. */
#include "../files.h"
int main(void)
{
	int w1 = made("w1", O_RDWR, 0600, "one"), w2 = made("w2", O_RDWR, 0600, "two");
	close(made("r", O_RDWR, 0600, "three"));
	int r = OK(open("r", O_RDONLY)), calm = made("calm", O_RDWR, 0600, "x");
	sigset_t m;
	sigemptyset(&m);
	sigaddset(&m, SIGIO);
	sigprocmask(SIG_BLOCK, &m, NULL);
	if (fcntl(w1, F_SETLEASE, F_WRLCK))
		SKIP("no leases on this filesystem: %s", strerror(errno));
	OK(fcntl(w2, F_SETLEASE, F_WRLCK));
	OK(fcntl(r, F_SETLEASE, F_RDLCK));
	OK(fcntl(calm, F_SETLEASE, F_WRLCK));
	ERR(open("w1", O_RDONLY | O_NONBLOCK), EWOULDBLOCK);
	ERR(open("w2", O_WRONLY | O_NONBLOCK), EWOULDBLOCK);
	ERR(open("r", O_WRONLY | O_NONBLOCK), EWOULDBLOCK);
	checkpoint();
	EQ(fcntl(w1, F_GETLEASE), F_RDLCK);
	EQ(fcntl(w2, F_GETLEASE), F_UNLCK);
	EQ(fcntl(r, F_GETLEASE), F_UNLCK);
	EQ(fcntl(calm, F_GETLEASE), F_WRLCK);
	struct timespec none = {0, 0};
	EQ(sigtimedwait(&m, NULL, &none), SIGIO); /* the one of the first time */
	OK(fcntl(w1, F_SETLEASE, F_UNLCK));
	OK(fcntl(w2, F_SETLEASE, F_UNLCK));
	OK(fcntl(r, F_SETLEASE, F_UNLCK));
	OK(open("w1", O_RDONLY | O_NONBLOCK));
	OK(open("w2", O_WRONLY | O_NONBLOCK));
	OK(open("r", O_WRONLY | O_NONBLOCK));
	return pass();
}
