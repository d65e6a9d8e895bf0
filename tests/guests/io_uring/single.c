/* A ring for a single thread, the leading one. */
#include "../io_uring.h"
int main(void)
{
	return ring_goes_on(8, IORING_SETUP_SINGLE_ISSUER);
}
