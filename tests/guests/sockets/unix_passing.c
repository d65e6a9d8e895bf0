/* What a receiver wants to be passed: SO_PASSRIGHTS, SO_PASSPIDFD, SO_PASSSEC; the position of SO_PEEK_OFF. */
#include "../unix.h"
#ifndef SO_PASSPIDFD
#define SO_PASSPIDFD 76
#endif
#ifndef SO_PASSRIGHTS
#define SO_PASSRIGHTS 83
#endif
static int get(int fd, int option)
{
	int v = -2;
	socklen_t n = sizeof v;
	return getsockopt(fd, SOL_SOCKET, option, &v, &n) ? -errno : v;
}
int main(void)
{
	static const int options[] = {SO_PASSPIDFD, SO_PASSRIGHTS, SO_PASSSEC, SO_PEEK_OFF, SO_TIMESTAMP};
	enum { N = sizeof options / sizeof *options };
	int s[2], was[N], plain[N], flip;
	char buf[8];
	OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
	for (int i = 0; i < N; i++) {
		plain[i] = get(s[0], options[i]);
		flip = options[i] == SO_PEEK_OFF ? 2 : !plain[i];
		setsockopt(s[1], SOL_SOCKET, options[i], &flip, sizeof flip);
		was[i] = get(s[1], options[i]);
	}
	EQ(write(s[0], "abcdef", 6), 6);
	checkpoint();
	for (int i = 0; i < N; i++) {
		EQ(get(s[1], options[i]), was[i]);
		EQ(get(s[0], options[i]), plain[i]);
	}
	EQ(recv(s[1], buf, 2, MSG_PEEK), 2);
	CHECK(!memcmp(buf, "cd", 2));
	EQ(recv(s[1], buf, 8, MSG_PEEK), 2);
	return pass();
}
