/* Every way to ask for the times of packets, SO_TXTIME among them. */
#include "../sockopt.h"
#include <linux/net_tstamp.h>
static int one(int name, int value)
{
	int fd = OK(socket(AF_INET, SOCK_DGRAM, 0));
	if (setsockopt(fd, SOL_SOCKET, name, &value, sizeof value))
		SKIP("socket option %d: %s", name, strerror(errno));
	return fd;
}
int main(void)
{
	static const int names[] = { SO_TIMESTAMP, SO_TIMESTAMPNS, 63 /* _NEW */, 64, SO_TIMESTAMPING, 65 };
	int value = SOF_TIMESTAMPING_RX_SOFTWARE | SOF_TIMESTAMPING_SOFTWARE | SOF_TIMESTAMPING_OPT_CMSG |
		    SOF_TIMESTAMPING_OPT_ID;
	int before[6][6], fd[6], l = listener(AF_INET, 2), c, s;
	for (int i = 0; i < 6; i++)
		fd[i] = one(names[i], i < 4 ? 1 : value);
	tcp_pair(AF_INET, l, &c, &s);
	opt_set(c, SOL_SOCKET, SO_TIMESTAMPING, value);
	struct sock_txtime t = { CLOCK_TAI, SOF_TXTIME_REPORT_ERRORS }, u;
	int tx = OK(socket(AF_INET, SOCK_DGRAM, 0));
	OK(setsockopt(tx, SOL_SOCKET, SO_TXTIME, &t, sizeof t));
	for (int i = 0; i < 6; i++)
		for (int k = 0; k < 6; k++)
			before[i][k] = opt(fd[i], SOL_SOCKET, names[k]);
	checkpoint();
	for (int i = 0; i < 6; i++)
		for (int k = 0; k < 6; k++)
			if (opt(fd[i], SOL_SOCKET, names[k]) != before[i][k])
				FAIL("option %d of the socket with %d is %d", names[k], names[i],
				     opt(fd[i], SOL_SOCKET, names[k]));
	EQ(opt(c, SOL_SOCKET, SO_TIMESTAMPING), value);
	socklen_t n = sizeof u;
	OK(getsockopt(tx, SOL_SOCKET, SO_TXTIME, &u, &n));
	EQ(u.clockid, CLOCK_TAI);
	EQ(u.flags, SOF_TXTIME_REPORT_ERRORS);
	talk(c, s);
	return pass();
}
