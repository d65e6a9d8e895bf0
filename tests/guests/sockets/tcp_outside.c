/* The peer is a process outside of the tree, which notices nothing but a pause. */
#include "../inet.h"
int main(void)
{
	int l = listener(AF_INET, 2), c = OK(socket(AF_INET, SOCK_STREAM, 0));
	char buf[64];
	union addr a;
	socklen_t n = loopback(&a, AF_INET, port_of(l));
	pid_t child = OK(fork());
	if (!child) {
		/* Its child is nobody's in the tree. */
		if (OK(fork()))
			_exit(0);
		close(c);
		int s = OK(accept(l, NULL, NULL));
		close(l);
		setsid();
		for (ssize_t k; (k = read(s, buf, sizeof buf)) > 0;)
			write_all(s, buf, k);
		_exit(0);
	}
	reap_ok(child);
	OK(connect(c, &a.sa, n));
	close(l);
	write_all(c, "echo", 4);
	struct pollfd p = { c, POLLIN, 0 };
	EQ(poll(&p, 1, 20000), 1);
	checkpoint();
	read_all(c, buf, 4);
	for (int i = 0; i < 3; i++) {
		write_all(c, "and again", 9);
		read_all(c, buf, 9);
		EQ(memcmp(buf, "and again", 9), 0);
	}
	OK(shutdown(c, SHUT_WR));
	at_end(c);
	return pass();
}
