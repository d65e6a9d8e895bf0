/* Sockets that travel in their own queue, and in the queues of each other. */
#include "../unix_rights.h"
int main(void)
{
	int p[2], q[2];
	OK(socketpair(AF_UNIX, SOCK_STREAM, 0, p));
	OK(socketpair(AF_UNIX, SOCK_DGRAM, 0, q));
	send_right(p[0], "own", p[1]);
	send_right(p[0], "other", q[1]);
	send_right(q[0], "back", p[1]);
	checkpoint();
	int got = recv_right(p[1], "own");
	CHECK(same_description(got, p[1]));
	got = recv_right(p[1], "other");
	CHECK(same_description(got, q[1]));
	got = recv_right(q[1], "back");
	CHECK(same_description(got, p[1]));
	EQ(write(p[0], "x", 1), 1);
	char c;
	EQ(read(got, &c, 1), 1);
	return pass();
}
