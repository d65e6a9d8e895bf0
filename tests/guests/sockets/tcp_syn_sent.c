/* A handshake that nobody answers yet goes on from the same port. */
#include "../inet.h"
int main(void)
{
	int l[2], c[2], port[2];
	for (int i = 0; i < 2; i++) {
		union addr a;
		l[i] = -1;
		if (!have(families[i]))
			continue;
		l[i] = listener(families[i], 4);
		deaf(l[i], true);
		c[i] = OK(socket(families[i], SOCK_STREAM | SOCK_NONBLOCK, 0));
		socklen_t n = loopback(&a, families[i], port_of(l[i]));
		ERR(connect(c[i], &a.sa, n), EINPROGRESS);
		port[i] = port_of(c[i]);
	}
	checkpoint();
	for (int i = 0; i < 2; i++) {
		if (l[i] < 0)
			continue;
		struct pollfd p = { c[i], POLLOUT, 0 };
		EQ(tcp_state(c[i]), TCP_SYN_SENT);
		EQ(port_of(c[i]), port[i]);
		EQ(fcntl(c[i], F_GETFL) & O_NONBLOCK, O_NONBLOCK);
		EQ(poll(&p, 1, 0), 0);
		deaf(l[i], false);
		int s = OK(accept(l[i], NULL, NULL));
		EQ(poll(&p, 1, 20000), 1);
		EQ(opt(c[i], SOL_SOCKET, SO_ERROR), 0);
		OK(fcntl(c[i], F_SETFL, 0));
		talk(c[i], s);
	}
	return pass();
}
