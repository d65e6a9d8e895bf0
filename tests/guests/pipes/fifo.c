/* A FIFO with data: opened read-write, by two processes, and its other end alone. */
#include "../guest.h"
int main(void)
{
	char buf[32] = "";
	OK(mkfifo("rw", 0640));
	OK(mkfifo("split", 0600));
	OK(mkfifo("done", 0600));
	int rw = OK(open("rw", O_RDWR | O_NONBLOCK));
	EQ(write(rw, "in the fifo", 11), 11);
	int r = OK(open("split", O_RDONLY | O_NONBLOCK)), d = OK(open("done", O_RDONLY | O_NONBLOCK));
	struct latch l = latch_new();
	pid_t kid = OK(fork());
	if (!kid) {
		close(r), close(d), close(rw);
		int w = OK(open("split", O_WRONLY));
		EQ(write(w, "before ", 7), 7);
		latch_open(l);
		wait_go();
		EQ(write(w, "after", 5), 5);
		_exit(0);
	}
	latch_wait(l);
	checkpoint();
	EQ(read(rw, buf, sizeof buf), 11);
	CHECK(!memcmp(buf, "in the fifo", 11));
	reap_ok(kid);
	EQ(read(r, buf, sizeof buf), 12);
	CHECK(!memcmp(buf, "before after", 12));
	EQ(read(r, buf, sizeof buf), 0);
	EQ(read(d, buf, sizeof buf), 0); /* never had a writer */
	struct stat st;
	OK(fstat(rw, &st));
	EQ(st.st_mode, S_IFIFO | 0640);
	int again = OK(open("rw", O_WRONLY | O_NONBLOCK)); /* the same object as the path */
	EQ(write(again, "x", 1), 1);
	EQ(read(rw, buf, 8), 1);
	return pass();
}
