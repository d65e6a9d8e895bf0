/* Both address families under one roof. */
#include "guest.h"
#include <netinet/in.h>
#include <netinet/tcp.h>
union addr {
	struct sockaddr sa;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
};
static inline socklen_t loopback(union addr *a, int family, int port)
{
	memset(a, 0, sizeof *a);
	a->sa.sa_family = family;
	if (family == AF_INET) {
		a->v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
		a->v4.sin_port = htons(port);
		return sizeof a->v4;
	}
	a->v6.sin6_addr = in6addr_loopback;
	a->v6.sin6_port = htons(port);
	return sizeof a->v6;
}
static inline int port_of(int fd)
{
	union addr a;
	socklen_t n = sizeof a;
	OK(getsockname(fd, &a.sa, &n));
	return ntohs(a.sa.sa_family == AF_INET ? a.v4.sin_port : a.v6.sin6_port);
}
static inline bool have(int family)
{
	union addr a;
	int fd = socket(family, SOCK_DGRAM, 0);
	bool ok = fd >= 0 && bind(fd, &a.sa, loopback(&a, family, 0)) == 0;
	close(fd);
	return ok;
}
static inline int bound(int family, int type)
{
	union addr a;
	int fd = OK(socket(family, type, 0));
	OK(bind(fd, &a.sa, loopback(&a, family, 0)));
	return fd;
}
static inline int listener(int family, int backlog)
{
	int fd = bound(family, SOCK_STREAM);
	OK(listen(fd, backlog));
	return fd;
}
/* A connected pair through a listener. */
static inline void tcp_pair(int family, int listen_fd, int *client, int *server)
{
	union addr a;
	*client = OK(socket(family, SOCK_STREAM, 0));
	socklen_t n = loopback(&a, family, port_of(listen_fd));
	OK(connect(*client, &a.sa, n));
	*server = OK(accept(listen_fd, NULL, NULL));
}
static inline int opt(int fd, int level, int name)
{
	int v = 0;
	socklen_t n = sizeof v;
	OK(getsockopt(fd, level, name, &v, &n));
	return v;
}
static inline void opt_set(int fd, int level, int name, int v)
{
	OK(setsockopt(fd, level, name, &v, sizeof v));
}
static inline void read_all(int fd, char *to, size_t n)
{
	for (size_t got = 0; got < n;) {
		ssize_t k = OK(read(fd, to + got, n - got));
		if (!k)
			FAIL("the connection ended after %zu of %zu bytes", got, n);
		got += k;
	}
}
#include <linux/filter.h>
/* Has a socket drop all that arrives, or take it again: a peer that does not answer. */
static inline void deaf(int fd, bool yes)
{
	struct sock_filter nothing = BPF_STMT(BPF_RET | BPF_K, 0);
	struct sock_fprog p = { 1, &nothing };
	int none = 0;
	if (yes)
		OK(setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &p, sizeof p));
	else
		OK(setsockopt(fd, SOL_SOCKET, SO_DETACH_FILTER, &none, sizeof none));
}
static inline int tcp_state(int fd)
{
	struct tcp_info i;
	socklen_t n = sizeof i;
	OK(getsockopt(fd, IPPROTO_TCP, TCP_INFO, &i, &n));
	return i.tcpi_state;
}
/* Waits until packets have had their effect. */
static inline void until_state(int fd, int state)
{
	for (double end = now(CLOCK_MONOTONIC) + 30; tcp_state(fd) != state;)
		if (now(CLOCK_MONOTONIC) > end)
			EQ(tcp_state(fd), state);
}
static inline void write_all(int fd, const char *from, size_t n)
{
	while (n) {
		ssize_t k = OK(send(fd, from, n, MSG_NOSIGNAL));
		from += k;
		n -= k;
	}
}
/* Both ends talk. */
static inline void talk(int a, int b)
{
	char buf[8];
	write_all(a, "ask", 3);
	read_all(b, buf, 3);
	write_all(b, "tell", 4);
	read_all(a, buf, 4);
}
/* The peer has ended its direction. */
static inline void at_end(int fd)
{
	char byte;
	EQ(read(fd, &byte, 1), 0);
}
static const int families[] = { AF_INET, AF_INET6 };
