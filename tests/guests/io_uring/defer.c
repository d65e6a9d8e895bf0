/* A ring whose completions are fetched by the thread that uses it alone. */
#include "../io_uring.h"
int main(void)
{
	return ring_goes_on(8, IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN);
}
