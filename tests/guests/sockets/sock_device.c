/* Sockets that are bound to a device. */
#include "../inet.h"
static void check(int fd)
{
	char name[16] = "";
	socklen_t n = sizeof name;
	OK(getsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, name, &n));
	STR_EQ(name, "lo");
}
int main(void)
{
	int l = OK(socket(AF_INET, SOCK_STREAM, 0)), c, s, u = OK(socket(AF_INET, SOCK_DGRAM, 0)), v;
	union addr a;
	char buf[8];
	OK(setsockopt(l, SOL_SOCKET, SO_BINDTODEVICE, "lo", 2));
	OK(setsockopt(u, SOL_SOCKET, SO_BINDTODEVICE, "lo", 2));
	OK(bind(l, &a.sa, loopback(&a, AF_INET, 0)));
	OK(bind(u, &a.sa, loopback(&a, AF_INET, 0)));
	OK(listen(l, 2));
	tcp_pair(AF_INET, l, &c, &s);
	OK(setsockopt(c, SOL_SOCKET, SO_BINDTODEVICE, "lo", 2));
	OK(shutdown(s, SHUT_WR));
	until_state(c, TCP_CLOSE_WAIT);
	v = bound(AF_INET, SOCK_DGRAM);
	EQ(sendto(v, "mail", 4, 0, &a.sa, loopback(&a, AF_INET, port_of(u))), 4);
	checkpoint();
	check(l);
	check(u);
	check(c);
	check(s);
	EQ(recv(u, buf, 8, MSG_DONTWAIT), 4);
	at_end(c);
	write_all(c, "more", 4);
	read_all(s, buf, 4);
	return pass();
}
