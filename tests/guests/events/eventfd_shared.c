/* An eventfd shared by parent and child; the child is blocked in read(2). */
#include "../guest.h"
#include <sys/eventfd.h>
int main(void)
{
	int e = OK(eventfd(0, 0)), back = OK(eventfd(0, 0));
	uint64_t v;
	pid_t kid = OK(fork());
	if (!kid) {
		EQ(read(e, &v, 8), 8);
		v += 1;
		EQ(write(back, &v, 8), 8);
		_exit(0);
	}
	checkpoint();
	v = 99;
	EQ(write(e, &v, 8), 8);
	EQ(read(back, &v, 8), 8);
	EQ(v, 100);
	reap_ok(kid);
	return pass();
}
