/* Streams through a pair of terminals in raw mode, in both directions. */
#include "../motion.h"
#include <pty.h>
#include <termios.h>
static void sender(int fd, uint64_t *total)
{
	unsigned char piece[700];
	uint32_t seed = 31;
	/* At least one piece, however late this process gets its turn. */
	do {
		size_t len = next_random(&seed) % sizeof piece + 1;
		stream_fill(piece, *total, len);
		for (size_t done = 0; done < len;)
			done += OK(write(fd, piece + done, len - done));
		*total += len;
		step();
	} while (moving());
}
static void receiver(int fd, const uint64_t *total, const uint64_t *over, const char *what)
{
	unsigned char piece[900];
	uint64_t got = 0;
	while (!__atomic_load_n(over, __ATOMIC_SEQ_CST) || got < *total) {
		struct pollfd p = { fd, POLLIN, 0 };
		if (poll(&p, 1, 50) <= 0)
			continue;
		ssize_t n = OK(read(fd, piece, sizeof piece));
		stream_check(piece, got, n, what);
		got += n;
	}
	EQ(got, *total);
}
int main(void)
{
	int m, s;
	motion_begin();
	uint64_t *total = map(PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0), *over = total + 8;
	OK(openpty(&m, &s, NULL, NULL, NULL));
	struct termios t;
	OK(tcgetattr(s, &t));
	cfmakeraw(&t);
	OK(tcsetattr(s, TCSANOW, &t));
	pid_t down = CHILD(sender(m, &total[0]); __atomic_store_n(&over[0], 1, __ATOMIC_SEQ_CST));
	pid_t up = CHILD(sender(s, &total[1]); __atomic_store_n(&over[1], 1, __ATOMIC_SEQ_CST));
	pid_t reader = CHILD(receiver(s, &total[0], &over[0], "the slave"));
	in_motion();
	receiver(m, &total[1], &over[1], "the master");
	reap_ok(down);
	reap_ok(up);
	reap_ok(reader);
	CHECK(total[0] && total[1]);
	return pass();
}
