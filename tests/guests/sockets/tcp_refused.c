/* A connection that was refused while nobody waited for it: the error is still to be heard. */
#include "../inet.h"
int main(void)
{
	int closed = bound(AF_INET, SOCK_STREAM), c = OK(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
	union addr a;
	socklen_t n = loopback(&a, AF_INET, port_of(closed));
	ERR(connect(c, &a.sa, n), EINPROGRESS);
	struct pollfd p = { c, POLLOUT, 0 };
	EQ(poll(&p, 1, 20000), 1);
	checkpoint();
	EQ(poll(&p, 1, 0), 1);
	CHECK(p.revents & POLLERR);
	EQ(opt(c, SOL_SOCKET, SO_ERROR), ECONNREFUSED);
	EQ(opt(c, SOL_SOCKET, SO_ERROR), 0);
	return pass();
}
