/* A handshake that nobody answers yet. */
#include "../inet.h"
int main(void)
{
	int l = listener(AF_INET, 2), c = OK(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
	union addr a;
	deaf(l, true);
	socklen_t n = loopback(&a, AF_INET, port_of(l));
	ERR(connect(c, &a.sa, n), EINPROGRESS);
	checkpoint();
	EQ(tcp_state(c), TCP_SYN_SENT);
	deaf(l, false);
	OK(accept(l, NULL, NULL));
	return pass();
}
