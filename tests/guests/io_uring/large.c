/* The largest ring. */
#include "../io_uring.h"
int main(void)
{
	return ring_goes_on(32768, 0);
}
