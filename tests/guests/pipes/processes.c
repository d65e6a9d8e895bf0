/* The ends are in different processes, a line goes round; then each end closes and the next sees the end. */
#include "../guest.h"
int main(void)
{
	int a[2], b[2], c[2];
	OK(pipe(a));
	OK(pipe(b));
	OK(pipe(c));
	EQ(write(a[1], "early ", 6), 6);
	pid_t kid[2];
	for (int k = 0; k < 2; k++) {
		kid[k] = OK(fork());
		if (!kid[k]) {
			int in = k ? b[0] : a[0], out = k ? c[1] : b[1];
			int all[] = { a[0], a[1], b[0], b[1], c[0], c[1] };
			for (int i = 0; i < 6; i++)
				if (all[i] != in && all[i] != out)
					close(all[i]);
			char ch;
			for (ssize_t n; (n = read(in, &ch, 1));)
				if (n == 1)
					EQ(write(out, &ch, 1), 1);
				else if (errno != EINTR)
					FAIL("read: %s", strerror(errno));
			_exit(0);
		}
	}
	close(a[0]), close(b[0]), close(b[1]), close(c[1]);
	checkpoint();
	EQ(write(a[1], "late", 4), 4);
	close(a[1]);
	char buf[16] = "";
	int n = 0;
	for (ssize_t r; (r = read(c[0], buf + n, sizeof buf - n)) > 0;)
		n += r;
	STR_EQ(buf, "early late");
	reap_ok(kid[0]);
	reap_ok(kid[1]);
	return pass();
}
