/* Rings without a request, of two sizes: they take requests after the restore. */
#include "../aio.h"
int main(void)
{
	aio_context_t a = aio_new(32), b = aio_new(1000);
	unsigned nr = ((struct aio_ring *)b)->nr;
	checkpoint();
	EQ(((struct aio_ring *)b)->nr, nr);
	int fd = OK(open("f", O_CREAT | O_RDWR, 0600));
	struct io_event e[4];
	aio_pwrite(a, fd, "abc", 3, 0, 71);
	aio_pwrite(b, fd, "def", 3, 3, 72);
	EQ(aio_get(a, e, 1, 4), 1);
	EQ(e[0].data, 71);
	EQ(e[0].res, 3);
	EQ(aio_get(b, e, 1, 4), 1);
	EQ(e[0].data, 72);
	char buf[8] = "";
	EQ(pread(fd, buf, 6, 0), 6);
	STR_EQ(buf, "abcdef");
	OK(syscall(SYS_io_destroy, a));
	OK(syscall(SYS_io_destroy, b));
	return pass();
}
