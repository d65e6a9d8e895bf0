/* /dev/null, zero, full, random, urandom, and a mapping of /dev/zero. */
#include "../guest.h"
int main(void)
{
	char buf[16];
	int null = OK(open("/dev/null", O_RDWR)), zero = OK(open("/dev/zero", O_RDWR)), full = OK(open("/dev/full", O_RDWR)),
	    urandom = OK(open("/dev/urandom", O_RDONLY)), rnd = OK(open("/dev/random", O_RDONLY | O_NONBLOCK));
	char *m = map(4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, zero, 0);
	fill(m, PAGE, 3);
	checkpoint();
	EQ(write(null, "x", 1), 1);
	EQ(read(null, buf, 1), 0);
	memset(buf, 1, sizeof buf);
	EQ(read(zero, buf, sizeof buf), sizeof buf);
	zeroed(buf, sizeof buf, "read of /dev/zero");
	ERR(write(full, "x", 1), ENOSPC);
	EQ(read(urandom, buf, 4), 4);
	EQ(read(rnd, buf, 4), 4);
	CHECK(fcntl(rnd, F_GETFL) & O_NONBLOCK);
	filled(m, PAGE, 3, "private mapping of /dev/zero");
	zeroed(m + PAGE, 3 * PAGE, "private mapping of /dev/zero");
	struct stat st;
	OK(fstat(full, &st));
	CHECK(S_ISCHR(st.st_mode));
	EQ(st.st_rdev, 0x107);
	return pass();
}
