/* Completions of 32 bytes. */
#include "../io_uring.h"
int main(void)
{
	return ring_goes_on(8, IORING_SETUP_CQE32);
}
