/* The system calls of linux-aio and its ring, see io_setup(2) and linux/aio_abi.h. */
#include "guest.h"
#include <linux/aio_abi.h>
struct aio_ring {
	unsigned id, nr, head, tail, magic, compat, incompat, header_length;
	struct io_event events[];
};
static inline aio_context_t aio_new(unsigned n)
{
	aio_context_t c = 0;
	OK(syscall(SYS_io_setup, n, &c));
	return c;
}
static inline void aio_pwrite(aio_context_t c, int fd, const void *from, size_t n, off_t at, uint64_t data)
{
	struct iocb cb = { .aio_lio_opcode = IOCB_CMD_PWRITE, .aio_fildes = fd, .aio_buf = (uintptr_t)from, .aio_nbytes = n,
			   .aio_offset = at, .aio_data = data }, *list = &cb;
	EQ(syscall(SYS_io_submit, c, 1, &list), 1);
}
static inline int aio_get(aio_context_t c, struct io_event *e, int min, int max)
{
	struct timespec limit = { 5, 0 };
	return OK(syscall(SYS_io_getevents, c, min, max, e, &limit));
}
