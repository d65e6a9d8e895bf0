/* Children blocked in read(2) of an empty pipe and in write(2) to a full one. */
#include "../guest.h"
#define BULK (200 << 10)
int main(void)
{
	static char bulk[BULK], got[BULK];
	int r[2], w[2];
	OK(pipe(r));
	OK(pipe(w));
	fill(bulk, BULK, 6);
	pid_t reader = OK(fork());
	if (!reader) {
		char buf[8] = "";
		EQ(read(r[0], buf, 4), 4);
		STR_EQ(buf, "data");
		_exit(0);
	}
	pid_t writer = OK(fork());
	if (!writer) { /* more than the pipe holds; a stop may cut the call short, as signals do */
		for (int n = 0; n < BULK;) {
			ssize_t k = write(w[1], bulk + n, BULK - n);
			CHECK(k > 0);
			n += k;
		}
		_exit(0);
	}
	int n = 0;
	while (n < 65536)
		OK(ioctl(w[0], FIONREAD, &n));
	checkpoint();
	EQ(write(r[1], "data", 4), 4);
	reap_ok(reader);
	for (int i = 0; i < BULK;)
		i += OK(read(w[0], got + i, BULK - i));
	CHECK(!memcmp(got, bulk, BULK));
	reap_ok(writer);
	return pass();
}
