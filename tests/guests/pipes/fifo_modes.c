/* Every way to open a FIFO: readers and writers that wait and that do not, both at once, alone, several of each, with
 * their flags; nobody at the other end. */
#include "../guest.h"
int main(void)
{
	char buf[32], name[8];
	static const int flags[] = {O_RDONLY | O_NONBLOCK, O_RDWR, O_RDWR | O_NONBLOCK | O_APPEND, O_RDONLY, O_WRONLY, O_WRONLY | O_NONBLOCK,
				    O_RDONLY | O_CLOEXEC, O_RDWR | O_SYNC};
	enum { N = sizeof flags / sizeof *flags };
	int fd[N], seen[N];
	OK(mkfifo("many", 0600));
	for (int i = 0; i < N; i++) {
		fd[i] = OK(open("many", flags[i]));
		seen[i] = OK(fcntl(fd[i], F_GETFL));
	}
	for (int i = 0; i < 6; i++) {
		snprintf(name, sizeof name, "f%d", i);
		OK(mkfifo(name, 0600));
	}
	int lonely = OK(open("f0", O_RDONLY | O_NONBLOCK)), both = OK(open("f1", O_RDWR));
	int r2 = OK(open("f2", O_RDONLY | O_NONBLOCK)), w2 = OK(open("f2", O_WRONLY)); /* its reader is gone */
	close(r2);
	int r3 = OK(open("f3", O_RDONLY | O_NONBLOCK)), w3 = OK(open("f3", O_WRONLY)); /* its writer is gone, data is left */
	EQ(write(w3, "left", 4), 4);
	close(w3);
	int r4 = OK(open("f4", O_RDONLY | O_NONBLOCK)), w4 = OK(open("f4", O_WRONLY)); /* its writer is gone, nothing is left */
	close(w4);
	int rw5 = OK(open("f5", O_RDWR)), w5 = OK(open("f5", O_WRONLY | O_NONBLOCK)); /* a writer with data, nobody to read */
	EQ(write(w5, "unread", 6), 6);
	close(rw5);
	checkpoint();
	for (int i = 0; i < N; i++) {
		EQ(fcntl(fd[i], F_GETFL), seen[i]);
		EQ(fcntl(fd[i], F_GETFD), flags[i] & O_CLOEXEC ? FD_CLOEXEC : 0);
	}
	EQ(write(fd[5], "x", 1), 1);
	EQ(read(fd[3], buf, sizeof buf), 1);
	ERR(read(fd[0], buf, 1), EAGAIN);
	struct pollfd p = {lonely, POLLIN, 0};
	EQ(poll(&p, 1, 0), 0); /* no writer ever came: no end of the file to poll */
	EQ(read(lonely, buf, 1), 0);
	ERR(open("f0", O_RDONLY | O_NONBLOCK) < 0 ? -1 : open("f2", O_WRONLY | O_NONBLOCK), ENXIO);
	EQ(write(both, "both", 4), 4);
	EQ(read(both, buf, sizeof buf), 4);
	signal(SIGPIPE, SIG_IGN);
	ERR(write(w2, "x", 1), EPIPE);
	EQ(read(r3, buf, sizeof buf), 4);
	EQ(read(r3, buf, sizeof buf), 0);
	EQ(read(r4, buf, sizeof buf), 0);
	p = (struct pollfd){r4, POLLIN, 0};
	EQ(poll(&p, 1, 0), 1);
	EQ(p.revents, POLLHUP);
	ERR(write(w5, "x", 1), EPIPE);
	return pass();
}
