/* A set that polls the network by itself (Linux 6.9). */
#include "../guest.h"
#include <sys/epoll.h>
struct params {
	uint32_t usecs;
	uint16_t budget;
	uint8_t prefer, pad;
};
#define SET _IOW(0x8A, 1, struct params)
#define GET _IOR(0x8A, 2, struct params)
int main(void)
{
	int e = OK(epoll_create1(0)), plain = OK(epoll_create1(0));
	struct params p = { 200, 8, 1, 0 }, q;
	if (ioctl(e, SET, &p))
		SKIP("the kernel has no parameters of epoll: %s", strerror(errno));
	checkpoint();
	OK(ioctl(e, GET, &q));
	EQ(q.usecs, 200);
	EQ(q.budget, 8);
	EQ(q.prefer, 1);
	OK(ioctl(plain, GET, &q));
	EQ(q.usecs + q.budget + q.prefer, 0);
	return pass();
}
