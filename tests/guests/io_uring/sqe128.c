/* Requests of 128 bytes. */
#include "../io_uring.h"
int main(void)
{
	return ring_goes_on(8, IORING_SETUP_SQE128);
}
