/* Megabytes in both queues of both directions, more than the windows take. */
#include "../inet.h"
static char data[8 << 20];
static size_t pump(int fd)
{
	size_t sent = 0;
	for (ssize_t k; (k = send(fd, data + sent, sizeof data - sent, MSG_DONTWAIT | MSG_NOSIGNAL)) > 0;)
		sent += k;
	return sent;
}
static void drain(int fd, size_t n, const char *what)
{
	static char got[8 << 20];
	read_all(fd, got, n);
	filled(got, n & ~3UL, 5, what);
}
int main(void)
{
	int l = listener(AF_INET, 4), c, s, size = 6 << 20;
	tcp_pair(AF_INET, l, &c, &s);
	fill(data, sizeof data, 5);
	OK(setsockopt(c, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size));
	OK(setsockopt(s, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size));
	int snd = opt(c, SOL_SOCKET, SO_SNDBUF), rcv = opt(s, SOL_SOCKET, SO_RCVBUF);
	size_t there = pump(c), back = pump(s);
	CHECK(there > 4000000 && back > 100000);
	checkpoint();
	EQ(opt(c, SOL_SOCKET, SO_SNDBUF), snd);
	EQ(opt(s, SOL_SOCKET, SO_RCVBUF), rcv);
	drain(s, there, "to the server");
	drain(c, back, "to the client");
	talk(c, s);
	return pass();
}
