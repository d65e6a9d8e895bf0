/* eventfd: counters up to the largest, semaphore mode, flags. */
#include "../guest.h"
#include <sys/eventfd.h>
int main(void)
{
	uint64_t v;
	int a = OK(eventfd(7, EFD_SEMAPHORE)), b = OK(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)), c = OK(eventfd(0, EFD_NONBLOCK));
	v = UINT64_MAX - 1;
	EQ(write(c, &v, 8), 8);
	int d = OK(eventfd(41, 0));
	checkpoint();
	EQ(read(a, &v, 8), 8);
	EQ(v, 1);
	v = 2;
	EQ(write(a, &v, 8), 8);
	for (int i = 0; i < 8; i++) {
		EQ(read(a, &v, 8), 8);
		EQ(v, 1);
	}
	struct pollfd p = { a, POLLIN, 0 };
	EQ(poll(&p, 1, 0), 0);
	ERR(read(b, &v, 8), EAGAIN);
	EQ(fcntl(b, F_GETFD), FD_CLOEXEC);
	v = 1;
	ERR(write(c, &v, 8), EAGAIN);
	EQ(read(c, &v, 8), 8);
	CHECK(v == UINT64_MAX - 1);
	EQ(write(d, (uint64_t[]){ 1 }, 8), 8);
	EQ(read(d, &v, 8), 8);
	EQ(v, 42);
	EQ(fcntl(d, F_GETFL), O_RDWR);
	return pass();
}
