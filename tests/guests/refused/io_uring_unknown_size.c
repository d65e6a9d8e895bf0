/* Whether requests are of 64 or 128 bytes cannot be told of a small ring without indices that was never used. */
#include "../io_uring.h"
int main(void)
{
	struct ring r = ring_new(8, IORING_SETUP_NO_SQARRAY);
	checkpoint();
	ring_wear(&r, 20);
	return pass();
}
