/* The hint of a file about the life of its data, which belongs to the inode: of one with a name, and of a deleted one. */
#include "../files.h"
#ifndef F_SET_RW_HINT
#define F_GET_RW_HINT 1035
#define F_SET_RW_HINT 1036
#endif
int main(void)
{
	uint64_t hint = 3, got = 0; /* RWH_WRITE_LIFE_MEDIUM */
	int named = made("named", O_RDWR, 0600, "x"), gone = made("gone", O_RDWR, 0600, "x");
	OK(unlink("gone"));
	if (fcntl(named, F_SET_RW_HINT, &hint))
		SKIP("no hints: %s", strerror(errno));
	hint = 5;
	OK(fcntl(gone, F_SET_RW_HINT, &hint));
	checkpoint();
	OK(fcntl(named, F_GET_RW_HINT, &got));
	EQ(got, 3);
	OK(fcntl(gone, F_GET_RW_HINT, &got));
	EQ(got, 5);
	return pass();
}
