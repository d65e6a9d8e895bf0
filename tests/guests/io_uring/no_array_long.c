/* A large ring without an array of indices, with requests of 128 bytes. */
#include "../io_uring.h"
int main(void)
{
	return ring_goes_on(64, IORING_SETUP_NO_SQARRAY | IORING_SETUP_SQE128);
}
