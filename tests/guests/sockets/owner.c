/* Sockets of another user, of all families; that user shares a port that it has taken before. */
#include "../inet.h"
#include "../unix.h"
#include <linux/if_packet.h>
#include <linux/netlink.h>
#include <net/ethernet.h>
static void is(int fd, unsigned uid, unsigned gid, unsigned mode)
{
	struct stat s;
	OK(fstat(fd, &s));
	EQ(s.st_uid, uid);
	EQ(s.st_gid, gid);
	EQ(s.st_mode, S_IFSOCK | mode);
}
static void as(unsigned uid, unsigned gid)
{
	OK(seteuid(0));
	OK(setegid(gid));
	OK(seteuid(uid));
}
static int shared(int type, int port, int error)
{
	union addr a;
	int fd = OK(socket(AF_INET, type, 0));
	opt_set(fd, SOL_SOCKET, SO_REUSEPORT, 1);
	socklen_t n = loopback(&a, AF_INET, port);
	if (error)
		ERR(bind(fd, &a.sa, n), error);
	else
		OK(bind(fd, &a.sa, n));
	if (!error && type == SOCK_STREAM)
		OK(listen(fd, 4));
	return fd;
}
int main(void)
{
	int fds[16], n = 0, pair[2], client, server, early;
	as(1234, 4321);
	int tcp = fds[n++] = shared(SOCK_STREAM, 0, 0);
	int udp = fds[n++] = shared(SOCK_DGRAM, 0, 0);
	fds[n++] = shared(SOCK_STREAM, port_of(tcp), 0);
	fds[n++] = shared(SOCK_DGRAM, port_of(udp), 0);
	fds[n++] = OK(socket(AF_INET6, SOCK_STREAM, 0));
	OK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	fds[n++] = pair[0];
	fds[n++] = pair[1];
	int listening = fds[n++] = OK(socket(AF_UNIX, SOCK_STREAM, 0));
	OK(seteuid(0)); /* which may make a file here */
	un_bind(listening, "of-another-user");
	OK(chmod("of-another-user", 0666));
	OK(seteuid(1234));
	OK(listen(listening, 4));
	early = fds[n++] = OK(socket(AF_UNIX, SOCK_STREAM, 0));
	OK(un_connect(early, "of-another-user"));
	fds[n++] = OK(socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE));
	fds[n++] = client = OK(socket(AF_INET, SOCK_STREAM, 0));
	union addr a;
	socklen_t len = loopback(&a, AF_INET, port_of(tcp));
	OK(connect(client, &a.sa, len));
	/* Either of those that share the port may have it. */
	struct pollfd wait[2] = { { tcp, POLLIN, 0 }, { fds[2], POLLIN, 0 } };
	EQ(poll(wait, 2, 5000), 1);
	as(0, 0);
	server = OK(accept(wait[0].revents ? tcp : fds[2], NULL, NULL));
	int packet = OK(socket(AF_PACKET, SOCK_DGRAM, 0));
	OK(fchown(packet, 1234, 4321));
	fds[n++] = packet;
	int odd = OK(socket(AF_UNIX, SOCK_DGRAM, 0));
	OK(fchmod(odd, 0612));
	checkpoint();
	for (int i = 0; i < n; i++)
		is(fds[i], 1234, 4321, 0777);
	is(odd, 0, 0, 0612);
	is(server, 0, 0, 0777);
	talk(client, server);
	as(1234, 4321);
	int more = shared(SOCK_STREAM, port_of(tcp), 0), few = shared(SOCK_DGRAM, port_of(udp), 0);
	is(more, 1234, 4321, 0777);
	as(77, 77);
	shared(SOCK_STREAM, port_of(tcp), EADDRINUSE);
	shared(SOCK_DGRAM, port_of(udp), EADDRINUSE);
	as(1234, 4321);
	int late = OK(accept(listening, NULL, NULL));
	is(late, 1234, 4321, 0777);
	EQ(write(late, "x", 1), 1);
	close(few);
	as(0, 0);
	return pass();
}
