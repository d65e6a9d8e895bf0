/* A ring without an array of indices, with completions of 32 bytes. */
#include "../io_uring.h"
int main(void)
{
	return ring_goes_on(8, IORING_SETUP_NO_SQARRAY | IORING_SETUP_CQE32);
}
