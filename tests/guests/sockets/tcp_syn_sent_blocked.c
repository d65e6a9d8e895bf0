/* A process that waits in connect(2) is connected after all. */
#include "../inet.h"
int main(void)
{
	int l = listener(AF_INET, 4), c = OK(socket(AF_INET, SOCK_STREAM, 0));
	deaf(l, true);
	pid_t child = OK(fork());
	if (!child) {
		union addr a;
		socklen_t n = loopback(&a, AF_INET, port_of(l));
		OK(connect(c, &a.sa, n));
		write_all(c, "there", 5);
		_exit(0);
	}
	until_state(c, TCP_SYN_SENT);
	checkpoint();
	EQ(tcp_state(c), TCP_SYN_SENT);
	deaf(l, false);
	char buf[8];
	int s = OK(accept(l, NULL, NULL));
	read_all(s, buf, 5);
	reap_ok(child);
	return pass();
}
