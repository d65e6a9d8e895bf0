/* The same at a socket that is bound to no address of its own, with a filter and an offset for peeking. */
#include "../inet.h"
int main(void)
{
	char buf[16];
	union addr to;
	struct sockaddr_in any = { .sin_family = AF_INET };
	int a = OK(socket(AF_INET, SOCK_DGRAM, 0)), b = bound(AF_INET, SOCK_DGRAM);
	OK(bind(a, (struct sockaddr *)&any, sizeof any));
	socklen_t n = loopback(&to, AF_INET, port_of(a));
	EQ(sendto(b, "abcdef", 6, 0, &to.sa, n), 6);
	EQ(sendto(b, "ghijkl", 6, 0, &to.sa, n), 6);
	opt_set(a, SOL_SOCKET, SO_PEEK_OFF, 2);
	deaf(a, true);
	checkpoint();
	EQ(opt(a, SOL_SOCKET, SO_PEEK_OFF), 2);
	EQ(recv(a, buf, 16, MSG_PEEK | MSG_DONTWAIT), 4);
	EQ(memcmp(buf, "cdef", 4), 0);
	EQ(recv(a, buf, 16, MSG_DONTWAIT), 6);
	EQ(memcmp(buf, "abcdef", 6), 0);
	EQ(recv(a, buf, 16, MSG_DONTWAIT), 6);
	EQ(memcmp(buf, "ghijkl", 6), 0);
	EQ(sendto(b, "lost", 4, 0, &to.sa, n), 4);
	ERR(recv(a, buf, 16, MSG_DONTWAIT), EAGAIN);
	return pass();
}
