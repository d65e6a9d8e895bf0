/* A ring in memory of the program's own. */
#include "../io_uring.h"
int main(void)
{
	char *memory = map(2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct io_uring_params p = { .flags = 1U << 14 /* IORING_SETUP_NO_MMAP */ };
	/* The places of the addresses, which older headers do not have. */
	uint64_t rings = (uintptr_t)memory, requests = rings + PAGE;
	memcpy((char *)&p + 40 + 32, &requests, 8);
	memcpy((char *)&p + 80 + 32, &rings, 8);
	int fd = (int)syscall(SYS_io_uring_setup, 4, &p);
	if (fd < 0)
		SKIP("IORING_SETUP_NO_MMAP: %s", strerror(errno));
	checkpoint();
	EQ(syscall(SYS_io_uring_enter, fd, 0, 0, 0, NULL, 0), 0);
	return pass();
}
