/* UDP-Lite: how much of a datagram a checksum covers, and datagrams that were not read yet. */
#include "../sockopt.h"
#define SOL_UDPLITE_ 136
#define SEND_CSCOV 10
#define RECV_CSCOV 11
static void expect(int fd, const char *text)
{
	char got[64];
	size_t n = strlen(text);
	struct pollfd p = { fd, POLLIN, 0 };
	EQ(poll(&p, 1, 10000), 1);
	EQ(recv(fd, got, sizeof got, MSG_DONTWAIT), n);
	EQ(memcmp(got, text, n), 0);
}
int main(void)
{
	int a[2], b[2];
	union addr to;
	struct option o[2][2];
	for (int i = 0; i < 2; i++) {
		a[i] = -1;
		if (!have(families[i]))
			continue;
		a[i] = socket(families[i], SOCK_DGRAM, IPPROTO_UDPLITE);
		if (a[i] < 0)
			SKIP("UDP-Lite: %s", strerror(errno));
		OK(bind(a[i], &to.sa, loopback(&to, families[i], 0)));
		b[i] = OK(socket(families[i], SOCK_DGRAM, IPPROTO_UDPLITE));
		OK(connect(b[i], &to.sa, loopback(&to, families[i], port_of(a[i]))));
		struct option some[] = { O(SOL_UDPLITE_, SEND_CSCOV, 12), O(SOL_UDPLITE_, RECV_CSCOV, 8) };
		memcpy(o[i], some, sizeof some);
		SET(b[i], o[i]);
		EQ(opt(b[i], SOL_UDPLITE_, SEND_CSCOV), 12);
		EQ(write(b[i], "covered in part", 15), 15);
		EQ(write(b[i], "two", 3), 3);
		opt_set(a[i], SOL_UDPLITE_, RECV_CSCOV, 12);
	}
	checkpoint();
	for (int i = 0; i < 2; i++) {
		if (a[i] < 0)
			continue;
		expect(a[i], "covered in part");
		expect(a[i], "two");
		CHECK_ALL(b[i], o[i]);
		/* what is covered less than it wants does not come */
		EQ(opt(a[i], SOL_UDPLITE_, RECV_CSCOV), 12);
		opt_set(b[i], SOL_UDPLITE_, SEND_CSCOV, 8);
		EQ(write(b[i], "nobody", 6), 6);
		opt_set(b[i], SOL_UDPLITE_, SEND_CSCOV, 12);
		EQ(write(b[i], "enough", 6), 6);
		expect(a[i], "enough");
	}
	return pass();
}
