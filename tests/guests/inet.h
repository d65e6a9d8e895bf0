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
static const int families[] = { AF_INET, AF_INET6 };
