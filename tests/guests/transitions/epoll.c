/* Turns taken over two eventfds and epoll sets, edge-triggered on one side. */
#include "../motion.h"
#include <sys/epoll.h>
#include <sys/eventfd.h>
static uint64_t play(int mine, int theirs, uint32_t mode, bool first)
{
	int e = OK(epoll_create1(EPOLL_CLOEXEC));
	struct epoll_event x = { EPOLLIN | mode, { .u64 = 0x1234567890 } }, got;
	OK(epoll_ctl(e, EPOLL_CTL_ADD, mine, &x));
	uint64_t count = 0, value;
	bool last = false;
	while (!last) {
		if (!first) {
			int n = epoll_wait(e, &got, 1, 30000);
			if (n < 0 && errno == EINTR)
				continue;
			EQ(n, 1);
			EQ(got.data.u64, 0x1234567890);
			/* One that was reported already is reported once more after a restore. */
			if (read(mine, &value, 8) < 0) {
				CHECK(errno == EAGAIN);
				continue;
			}
			CHECK(value == 1 || value == 1000);
			last = value == 1000;
		}
		first = false;
		count++;
		if (last)
			break;
		last = !moving();
		value = last ? 1000 : 1;
		EQ(write(theirs, &value, 8), 8);
		step();
	}
	close(e);
	return count;
}
int main(void)
{
	motion_begin();
	uint64_t *total = map(PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int a = OK(eventfd(0, EFD_NONBLOCK)), b = OK(eventfd(0, EFD_NONBLOCK));
	pid_t kid = CHILD(total[1] = play(b, a, EPOLLET, false));
	in_motion();
	total[0] = play(a, b, 0, true);
	reap_ok(kid);
	CHECK(total[0] - total[1] + 1 <= 2);
	return pass();
}
