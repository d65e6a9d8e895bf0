/* The groups of those at the other ends: of pairs, of a listening socket and who has connected to it, accepted or not. */
#include "../unix.h"
#include <grp.h>
#ifndef SO_PEERGROUPS
#define SO_PEERGROUPS 59
#endif
static void in_groups(int fd, int count, unsigned first)
{
	gid_t got[8] = { 0 };
	socklen_t n = sizeof got;
	OK(getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, got, &n));
	EQ(n, count * sizeof(gid_t));
	for (int i = 0; i < count; i++)
		EQ(got[i], first + i);
}
static void as(int count, unsigned first)
{
	gid_t ids[8];
	for (int i = 0; i < count; i++)
		ids[i] = first + i;
	OK(setgroups(count, ids));
}
int main(void)
{
	int pair[2], datagrams[2], none[2], listening = OK(socket(AF_UNIX, SOCK_STREAM, 0));
	as(3, 100);
	OK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	OK(socketpair(AF_UNIX, SOCK_DGRAM, 0, datagrams));
	un_bind(listening, "groups");
	as(2, 200);
	OK(listen(listening, 4));
	as(4, 300);
	int client = OK(socket(AF_UNIX, SOCK_STREAM, 0)), waiting = OK(socket(AF_UNIX, SOCK_STREAM, 0));
	OK(un_connect(client, "groups"));
	int server = OK(accept(listening, NULL, NULL));
	as(0, 0);
	OK(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, none));
	OK(un_connect(waiting, "groups"));
	checkpoint();
	for (int i = 0; i < 2; i++) {
		in_groups(pair[i], 3, 100);
		in_groups(datagrams[i], 3, 100);
		in_groups(none[i], 0, 0);
	}
	in_groups(listening, 2, 200);
	in_groups(client, 2, 200);
	in_groups(server, 4, 300);
	in_groups(waiting, 2, 200);
	OK(accept(listening, NULL, NULL));
	return pass();
}
