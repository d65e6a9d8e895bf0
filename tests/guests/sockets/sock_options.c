/* Options of every socket, on TCP and UDP. */
#include "../sockopt.h"
int main(void)
{
	static struct option common[] = {
		O(SOL_SOCKET, SO_RCVLOWAT, 7), O(SOL_SOCKET, SO_BROADCAST, 1), O(SOL_SOCKET, SO_KEEPALIVE, 1),
		O(SOL_SOCKET, SO_OOBINLINE, 1), O(SOL_SOCKET, SO_MARK, 0x99), O(SOL_SOCKET, SO_PRIORITY, 5),
		O(SOL_SOCKET, SO_DONTROUTE, 1), O(SOL_SOCKET, SO_TIMESTAMPNS, 1), O(SOL_SOCKET, SO_RXQ_OVFL, 1),
		O(SOL_SOCKET, SO_BUSY_POLL, 9), O(SOL_SOCKET, 69 /* SO_PREFER_BUSY_POLL */, 1),
		O(SOL_SOCKET, SO_ZEROCOPY, 1),
		O(SOL_SOCKET, SO_SELECT_ERR_QUEUE, 1), O(SOL_SOCKET, SO_MAX_PACING_RATE, 123456),
		O(SOL_SOCKET, 75 /* SO_RCVMARK */, 1), O(SOL_SOCKET, SO_DEBUG, 1), O(SOL_SOCKET, SO_NO_CHECK, 1),
		O(SOL_SOCKET, SO_SNDBUFFORCE, 7000000), O(SOL_SOCKET, SO_RCVBUFFORCE, 6000000),
	};
	static struct option copies[4][sizeof common / sizeof *common];
	struct timeval t[2] = { { 3, 500000 }, { 0, 400000 } }, u;
	struct linger g = { 1, 17 }, h;
	int fd[4], l = listener(AF_INET, 2), s;
	tcp_pair(AF_INET, l, &fd[0], &s);
	fd[1] = OK(socket(AF_INET, SOCK_STREAM, 0));
	fd[2] = bound(AF_INET, SOCK_DGRAM);
	fd[3] = OK(socket(have(AF_INET6) ? AF_INET6 : AF_INET, SOCK_DGRAM, 0));
	size_t n = sizeof common / sizeof *common;
	for (int i = 0; i < 4; i++) {
		memcpy(copies[i], common, sizeof common);
		copies[i][n - 1].name = SO_RCVBUFFORCE;
		for (size_t k = 0; k < n; k++) {
			struct option *o = &copies[i][k];
			int force = o->name == SO_SNDBUFFORCE || o->name == SO_RCVBUFFORCE;
			OK(setsockopt(fd[i], o->level, o->name, &o->value, sizeof o->value));
			if (force)
				o->name = o->name == SO_SNDBUFFORCE ? SO_SNDBUF : SO_RCVBUF;
			o->value = opt(fd[i], o->level, o->name);
		}
		OK(setsockopt(fd[i], SOL_SOCKET, SO_RCVTIMEO, &t[0], sizeof t[0]));
		OK(setsockopt(fd[i], SOL_SOCKET, SO_SNDTIMEO, &t[1], sizeof t[1]));
		OK(setsockopt(fd[i], SOL_SOCKET, SO_LINGER, &g, sizeof g));
	}
	int lock = opt(fd[0], SOL_SOCKET, 72 /* SO_BUF_LOCK */), none = opt(s, SOL_SOCKET, 72);
	checkpoint();
	for (int i = 0; i < 4; i++) {
		options_check(fd[i], copies[i], n);
		for (int k = 0; k < 2; k++) {
			socklen_t len = sizeof u;
			OK(getsockopt(fd[i], SOL_SOCKET, k ? SO_SNDTIMEO : SO_RCVTIMEO, &u, &len));
			EQ(u.tv_sec, t[k].tv_sec);
			EQ(u.tv_usec, t[k].tv_usec);
		}
		socklen_t len = sizeof h;
		OK(getsockopt(fd[i], SOL_SOCKET, SO_LINGER, &h, &len));
		EQ(h.l_onoff, 1);
		EQ(h.l_linger, 17);
	}
	EQ(opt(fd[0], SOL_SOCKET, 72), lock);
	EQ(opt(s, SOL_SOCKET, 72), none);
	return pass();
}
