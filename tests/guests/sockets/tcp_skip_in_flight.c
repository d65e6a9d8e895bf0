/* With --skip-in-flight connections that were not accepted are dropped, and the socket goes on listening. */
#include "../inet.h"
int main(void)
{
	int l = listener(AF_INET, 4);
	union addr a;
	socklen_t n = loopback(&a, AF_INET, port_of(l));
	pid_t child = OK(fork());
	if (!child) {
		OK(connect(OK(socket(AF_INET, SOCK_STREAM, 0)), &a.sa, n));
		_exit(0);
	}
	reap_ok(child);
	struct pollfd p = { l, POLLIN, 0 };
	EQ(poll(&p, 1, 0), 1);
	checkpoint();
	if (restored())
		EQ(poll(&p, 1, 0), 0);
	else
		close(OK(accept(l, NULL, NULL)));
	int c, s;
	tcp_pair(AF_INET, l, &c, &s);
	talk(c, s);
	return pass();
}
