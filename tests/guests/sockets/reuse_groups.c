/* Ports that several sockets share, in several processes: SO_REUSEPORT and SO_REUSEADDR. */
#include "../inet.h"
int main(void)
{
	int l[3], u[3], r[2], old[2];
	union addr a;
	socklen_t n = loopback(&a, AF_INET, 0);
	for (int i = 0; i < 3; i++) {
		for (int k = 0; k < 2; k++) {
			int fd = OK(socket(AF_INET, k ? SOCK_DGRAM : SOCK_STREAM, 0));
			opt_set(fd, SOL_SOCKET, SO_REUSEPORT, 1);
			n = loopback(&a, AF_INET, i ? port_of(k ? u[0] : l[0]) : 0);
			OK(bind(fd, &a.sa, n));
			if (!k)
				OK(listen(fd, 4));
			*(k ? &u[i] : &l[i]) = fd;
		}
	}
	for (int i = 0; i < 2; i++) {
		r[i] = OK(socket(AF_INET, SOCK_DGRAM, 0));
		opt_set(r[i], SOL_SOCKET, SO_REUSEADDR, 1);
		n = loopback(&a, AF_INET, i ? port_of(r[0]) : 0);
		OK(bind(r[i], &a.sa, n));
	}
	opt_set(r[1], SOL_SOCKET, SO_REUSEADDR, 0); /* off again, once it is bound */
	for (int i = 0; i < 2; i++) {
		old[i] = OK(socket(AF_INET, SOCK_STREAM, 0));
		opt_set(old[i], SOL_SOCKET, SO_REUSEADDR, 1);
		n = loopback(&a, AF_INET, i ? port_of(old[0]) : 0);
		OK(bind(old[i], &a.sa, n));
	}
	opt_set(old[0], SOL_SOCKET, SO_REUSEADDR, 0);
	struct latch ready = latch_new();
	pid_t child = OK(fork());
	if (!child) {
		close(l[0]);
		close(u[0]);
		latch_open(ready);
		wait_go();
		EQ(opt(l[1], SOL_SOCKET, SO_REUSEPORT), 1);
		_exit(0);
	}
	latch_wait(ready);
	close(l[2]);
	close(u[2]);
	checkpoint();
	EQ(port_of(l[0]), port_of(l[1]));
	EQ(port_of(u[0]), port_of(u[1]));
	EQ(port_of(r[0]), port_of(r[1]));
	EQ(port_of(old[0]), port_of(old[1]));
	EQ(opt(r[0], SOL_SOCKET, SO_REUSEADDR), 1);
	EQ(opt(r[1], SOL_SOCKET, SO_REUSEADDR), 0);
	EQ(opt(old[0], SOL_SOCKET, SO_REUSEADDR), 0);
	EQ(opt(l[0], SOL_SOCKET, SO_REUSEPORT), 1);
	int more = OK(socket(AF_INET, SOCK_STREAM, 0));
	n = loopback(&a, AF_INET, port_of(l[0]));
	ERR(bind(more, &a.sa, n), EADDRINUSE);
	opt_set(more, SOL_SOCKET, SO_REUSEPORT, 1);
	OK(bind(more, &a.sa, n));
	reap_ok(child);
	return pass();
}
