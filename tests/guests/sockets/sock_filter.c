/* Classic filters, one of them locked: on connections in several states, a listening socket and UDP. */
#include "../inet.h"
static void attach(int fd, unsigned take)
{
	struct sock_filter f[] = { BPF_STMT(BPF_LD | BPF_W | BPF_LEN, 0), BPF_STMT(BPF_RET | BPF_K, take) };
	struct sock_fprog p = { 2, f };
	OK(setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &p, sizeof p));
}
static unsigned attached(int fd)
{
	struct sock_filter f[8] = { 0 };
	socklen_t n = 8;
	OK(getsockopt(fd, SOL_SOCKET, SO_GET_FILTER, f, &n));
	return n == 2 ? f[1].k : 0;
}
int main(void)
{
	int l = listener(AF_INET, 4), c, s, c2, s2, u = bound(AF_INET, SOCK_DGRAM);
	tcp_pair(AF_INET, l, &c, &s);
	tcp_pair(AF_INET, l, &c2, &s2);
	OK(shutdown(s2, SHUT_WR));
	until_state(c2, TCP_CLOSE_WAIT);
	until_state(s2, TCP_FIN_WAIT2);
	attach(l, 70001);
	attach(c, 70002);
	attach(c2, 0); /* hears nothing any more */
	attach(s2, 70003);
	attach(u, 70004);
	opt_set(u, SOL_SOCKET, SO_LOCK_FILTER, 1);
	opt_set(c, SOL_SOCKET, SO_LOCK_FILTER, 1);
	checkpoint();
	EQ(attached(l), 70001);
	EQ(attached(c), 70002);
	EQ(attached(s2), 70003);
	EQ(attached(u), 70004);
	int none = 0;
	ERR(setsockopt(u, SOL_SOCKET, SO_DETACH_FILTER, &none, sizeof none), EPERM);
	ERR(setsockopt(c, SOL_SOCKET, SO_DETACH_FILTER, &none, sizeof none), EPERM);
	EQ(opt(s2, SOL_SOCKET, SO_LOCK_FILTER), 0);
	EQ(tcp_state(c2), TCP_CLOSE_WAIT);
	EQ(tcp_state(s2), TCP_FIN_WAIT2);
	at_end(c2);
	talk(c, s);
	return pass();
}
