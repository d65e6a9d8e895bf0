/* Socket options, and the flags of the descriptors. */
#include "../guest.h"
static int get(int fd, int opt)
{
	int v = 0;
	socklen_t n = sizeof v;
	OK(getsockopt(fd, SOL_SOCKET, opt, &v, &n));
	return v;
}
static void set(int fd, int opt, int v) { OK(setsockopt(fd, SOL_SOCKET, opt, &v, sizeof v)); }
int main(void)
{
	int s[2];
	OK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, s));
	set(s[0], SO_SNDBUF, 30000);
	set(s[0], SO_RCVBUF, 40000);
	set(s[0], SO_PASSCRED, 1);
	set(s[1], SO_PASSSEC, 0);
	set(s[0], SO_PRIORITY, 3);
	set(s[0], SO_RCVLOWAT, 5);
	set(s[0], SO_MARK, 77);
	struct timeval rt = { 3, 500000 }, st = { 4, 0 }, t;
	OK(setsockopt(s[0], SOL_SOCKET, SO_RCVTIMEO, &rt, sizeof rt));
	OK(setsockopt(s[0], SOL_SOCKET, SO_SNDTIMEO, &st, sizeof st));
	int snd = get(s[0], SO_SNDBUF), rcv = get(s[0], SO_RCVBUF), plain = get(s[1], SO_SNDBUF);
	checkpoint();
	EQ(get(s[0], SO_SNDBUF), snd);
	EQ(get(s[0], SO_RCVBUF), rcv);
	EQ(get(s[1], SO_SNDBUF), plain);
	EQ(get(s[0], SO_PASSCRED), 1);
	EQ(get(s[1], SO_PASSCRED), 0);
	EQ(get(s[0], SO_PRIORITY), 3);
	EQ(get(s[0], SO_RCVLOWAT), 5);
	EQ(get(s[0], SO_MARK), 77);
	EQ(get(s[0], SO_TYPE), SOCK_STREAM);
	socklen_t n = sizeof t;
	OK(getsockopt(s[0], SOL_SOCKET, SO_RCVTIMEO, &t, &n));
	EQ(t.tv_sec, 3);
	EQ(t.tv_usec, 500000);
	EQ(fcntl(s[0], F_GETFD), FD_CLOEXEC);
	CHECK(fcntl(s[0], F_GETFL) & O_NONBLOCK);
	return pass();
}
