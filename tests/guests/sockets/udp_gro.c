/* Unread datagrams that were sent as one (UDP_SEGMENT) and may be received as one (UDP_GRO): none runs into the next. */
#include "../inet.h"
#define SEGMENT 103
#define GRO 104
#define EACH 100
static int receiver(int family)
{
	int fd = bound(family, SOCK_DGRAM);
	if (setsockopt(fd, IPPROTO_UDP, GRO, &(int){ 1 }, sizeof(int)))
		SKIP("the kernel has no UDP_GRO (Linux 5.0)");
	return fd;
}
/* One byte each tells them apart; the last is shorter. */
static void fill_queue(int fd)
{
	char bytes[3 * EACH - 20];
	union addr to;
	socklen_t length = sizeof to;
	OK(getsockname(fd, &to.sa, &length));
	int from = OK(socket(to.sa.sa_family, SOCK_DGRAM, 0));
	OK(setsockopt(from, IPPROTO_UDP, SEGMENT, &(int){ EACH }, sizeof(int)));
	for (unsigned i = 0; i < sizeof bytes; i++)
		bytes[i] = 'a' + i / EACH;
	EQ(sendto(from, bytes, sizeof bytes, 0, &to.sa, length), (ssize_t)sizeof bytes);
	close(from);
}
/* All that is there, told apart by what the kernel says of their length. */
static void read_queue(int fd)
{
	int seen = 0;
	while (seen < 3) {
		char data[4 * EACH], control[64];
		struct iovec v = { data, sizeof data };
		struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control };
		int length = OK(recvmsg(fd, &m, MSG_DONTWAIT)), each = length;
		for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c))
			if (c->cmsg_level == IPPROTO_UDP && c->cmsg_type == GRO)
				each = *(int *)CMSG_DATA(c);
		for (int at = 0; at < length; at += each, seen++) {
			int own = length - at < each ? length - at : each;
			EQ(own, seen == 2 ? EACH - 20 : EACH);
			for (int i = 0; i < own; i++)
				EQ(data[at + i], 'a' + seen);
		}
	}
	ERR(recv(fd, &seen, 1, MSG_DONTWAIT), EAGAIN);
}
int main(void)
{
	int four = receiver(AF_INET), six = have(AF_INET6) ? receiver(AF_INET6) : -1;
	fill_queue(four);
	if (six >= 0)
		fill_queue(six);
	checkpoint();
	read_queue(four);
	if (six >= 0)
		read_queue(six);
	/* And so it goes on. */
	fill_queue(four);
	read_queue(four);
	return pass();
}
