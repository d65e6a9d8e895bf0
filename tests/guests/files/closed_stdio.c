/* No descriptor at all: the restore leaves none of its own. */
#include "../guest.h"
int main(void)
{
	close_range(0, ~0U, 0);
	checkpoint();
	for (int i = 0; i < 1024; i++)
		ERR(fcntl(i, F_GETFD), EBADF);
	EQ(open("/dev/null", O_RDONLY), 0);
	return pass();
}
