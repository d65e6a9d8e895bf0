/* A server and its client in two processes, both blocked in read(2). */
#include "../inet.h"
int main(void)
{
	char buf[8];
	int l = listener(AF_INET, 4), c, s, p[2];
	tcp_pair(AF_INET, l, &c, &s);
	OK(pipe(p));
	pid_t kid = OK(fork());
	if (!kid) {
		close(c), close(l);
		for (ssize_t n; (n = read(s, buf, 8)) != 0;) {
			if (n < 0 && errno != EINTR)
				FAIL("read: %s", strerror(errno));
			if (n > 0)
				EQ(write(s, buf, n), n);
		}
		_exit(0);
	}
	close(s);
	checkpoint();
	for (int i = 0; i < 100; i++) {
		EQ(write(c, &i, 4), 4);
		read_all(c, buf, 4);
		EQ(*(int *)buf, i);
	}
	close(c);
	reap_ok(kid);
	return pass();
}
