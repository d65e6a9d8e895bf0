/* Keys of TCP signatures: of a listening socket and of connections. Both ends go on signing, and one without
 * the key is not heard. */
#include "../inet.h"
static void key(int fd, int family, const char *text, int prefix)
{
	union addr a;
	struct tcp_md5sig k = { .tcpm_flags = TCP_MD5SIG_FLAG_PREFIX, .tcpm_prefixlen = prefix };
	memcpy(&k.tcpm_addr, &a, loopback(&a, family, 0));
	k.tcpm_keylen = strlen(text);
	memcpy(k.tcpm_key, text, k.tcpm_keylen);
	if (setsockopt(fd, IPPROTO_TCP, TCP_MD5SIG_EXT, &k, sizeof k)) {
		if (errno == ENOPROTOOPT)
			SKIP("TCP_MD5SIG_EXT: %s", strerror(errno));
		FAIL("TCP_MD5SIG_EXT: %s", strerror(errno));
	}
}
static int client(int family, int l, const char *text)
{
	union addr a;
	int fd = OK(socket(family, SOCK_STREAM | SOCK_NONBLOCK, 0));
	if (text)
		key(fd, family, text, family == AF_INET ? 32 : 128);
	socklen_t n = loopback(&a, family, port_of(l));
	ERR(connect(fd, &a.sa, n), EINPROGRESS);
	return fd;
}
static void joined(int fd)
{
	struct pollfd p = { fd, POLLOUT, 0 };
	EQ(poll(&p, 1, 20000), 1);
	EQ(opt(fd, SOL_SOCKET, SO_ERROR), 0);
	OK(fcntl(fd, F_SETFL, 0));
}
int main(void)
{
	int l[2], c[2], s[2];
	for (int i = 0; i < 2; i++) {
		int f = families[i];
		l[i] = -1;
		if (!have(f))
			continue;
		l[i] = bound(f, SOCK_STREAM);
		key(l[i], f, "a key", f == AF_INET ? 8 : 64);
		OK(listen(l[i], 4));
		c[i] = client(f, l[i], "a key");
		s[i] = OK(accept(l[i], NULL, NULL));
		joined(c[i]);
		write_all(c[i], "ahead", 5);
	}
	checkpoint();
	for (int i = 0; i < 2; i++) {
		int f = families[i];
		char buf[8];
		if (l[i] < 0)
			continue;
		read_all(s[i], buf, 5);
		talk(c[i], s[i]);
		/* The listening socket: who has the key comes in, who does not is not heard. */
		int stranger = client(f, l[i], NULL), liar = client(f, l[i], "none");
		int friend = client(f, l[i], "a key"), t = OK(accept(l[i], NULL, NULL));
		joined(friend);
		talk(friend, t);
		EQ(tcp_state(stranger), TCP_SYN_SENT);
		EQ(tcp_state(liar), TCP_SYN_SENT);
	}
	return pass();
}
