/* A ring without an array of indices. */
#include "../io_uring.h"
int main(void)
{
	return ring_goes_on(8, IORING_SETUP_NO_SQARRAY);
}
