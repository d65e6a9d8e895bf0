/* A registered file is one of two of the same name. */
#include "../io_uring.h"
int main(void)
{
	struct ring r = ring_new(8, 0);
	int fd = scratch_file();
	int other = OK(open("scratch", O_RDONLY));
	OK(ring_register(r.fd, IORING_REGISTER_FILES, &fd, 1));
	checkpoint();
	ring_wear(&r, 20);
	close(other);
	return pass();
}
