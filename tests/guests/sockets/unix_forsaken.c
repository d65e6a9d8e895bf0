/* Datagram sockets whose peers are closed: the first message is refused, then there is no peer. */
#include "../unix.h"
int main(void)
{
	int named = OK(socket(AF_UNIX, SOCK_DGRAM, 0)), peer = OK(socket(AF_UNIX, SOCK_DGRAM, 0)), pair[2];
	un_bind(named, "named");
	un_bind(peer, "peer");
	OK(un_connect(named, "peer"));
	close(peer);
	OK(unlink("peer"));
	OK(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair));
	close(pair[1]);
	checkpoint();
	ERR(send(named, "x", 1, 0), ECONNREFUSED);
	ERR(send(named, "x", 1, 0), ENOTCONN);
	ERR(send(pair[0], "x", 1, 0), ECONNREFUSED);
	ERR(send(pair[0], "x", 1, 0), ENOTCONN);
	return pass();
}
