/* One end is closed: end of file after the data, EPIPE and SIGPIPE. */
#include "../guest.h"
int main(void)
{
	char buf[16];
	int eof[2], broken[2], empty[2];
	OK(pipe(eof));
	OK(pipe(broken));
	OK(pipe(empty));
	EQ(write(eof[1], "last", 4), 4);
	EQ(write(broken[1], "unread", 6), 6);
	close(eof[1]);
	close(broken[0]);
	close(empty[1]);
	sigset_t m, p;
	sigemptyset(&m);
	sigaddset(&m, SIGPIPE);
	sigprocmask(SIG_BLOCK, &m, NULL);
	checkpoint();
	EQ(read(eof[0], buf, 16), 4);
	EQ(read(eof[0], buf, 16), 0);
	EQ(read(empty[0], buf, 16), 0);
	ERR(write(broken[1], "x", 1), EPIPE);
	sigpending(&p);
	CHECK(sigismember(&p, SIGPIPE));
	struct pollfd f = { broken[1], POLLOUT, 0 };
	EQ(poll(&f, 1, 0), 1);
	CHECK(f.revents & POLLERR);
	return pass();
}
