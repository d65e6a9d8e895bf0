/* Requests of 128 bytes and completions of 32. */
#include "../io_uring.h"
int main(void)
{
	return ring_goes_on(8, IORING_SETUP_SQE128 | IORING_SETUP_CQE32);
}
