/* Files are registered: a full table, one with gaps, one that is empty. */
#include "../io_uring.h"
static void reads(struct ring *r, int slot, const char *text)
{
	static char got[16];
	memset(got, 0, sizeof got);
	struct io_uring_sqe *sqe = ring_next(r, IORING_OP_READ, 9);
	sqe->flags = IOSQE_FIXED_FILE;
	sqe->fd = slot;
	sqe->off = (uint64_t)-1;
	sqe->addr = (uintptr_t)got;
	sqe->len = sizeof got - 1;
	ring_submit(r);
	int result = ring_take(r, 9);
	if (!text) {
		EQ(result, -EBADF);
		return;
	}
	EQ(result, strlen(text));
	STR_EQ(got, text);
}
static int file(const char *name)
{
	int fd = (int)OK(open(name, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
	EQ(write(fd, name, strlen(name)), strlen(name));
	return fd;
}
int main(void)
{
	struct ring dense = ring_new(8, 0), sparse = ring_new(8, IORING_SETUP_SINGLE_ISSUER), empty = ring_new(8, 0);
	int a = file("a a"), b = file("b\nb"), c = file("c\\c"), pair[2];
	OK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair));
	int all[] = { a, pair[0], b, c };
	OK(ring_register(dense.fd, IORING_REGISTER_FILES, all, 4));
	int some[300];
	memset(some, -1, sizeof some);
	some[1] = c;
	some[299] = a;
	OK(ring_register(sparse.fd, IORING_REGISTER_FILES, some, 300));
	int none[] = { -1, -1 };
	OK(ring_register(empty.fd, IORING_REGISTER_FILES, none, 2));
	OK(dup(a));
	checkpoint();
	OK(lseek(a, 0, SEEK_SET));
	OK(lseek(b, 0, SEEK_SET));
	OK(lseek(c, 0, SEEK_SET));
	reads(&dense, 0, "a a");
	reads(&dense, 2, "b\nb");
	/* The position is that of the descriptor, whose file it is. */
	EQ(lseek(b, 0, SEEK_CUR), 3);
	EQ(write(pair[1], "through", 7), 7);
	reads(&dense, 1, "through");
	OK(lseek(a, 0, SEEK_SET));
	reads(&sparse, 299, "a a");
	reads(&sparse, 1, "c\\c");
	reads(&sparse, 0, NULL);
	reads(&empty, 1, NULL);
	ERR(ring_register(empty.fd, IORING_REGISTER_FILES, all, 4), EBUSY);
	struct io_uring_files_update update = { .offset = 1, .fds = (uintptr_t)&b };
	EQ(ring_register(empty.fd, IORING_REGISTER_FILES_UPDATE, &update, 1), 1);
	OK(lseek(b, 0, SEEK_SET));
	reads(&empty, 1, "b\nb");
	return pass();
}
