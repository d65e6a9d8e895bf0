/* memfd: name, size, content with holes, offset, flags, mode. */
#include "../guest.h"
int main(void)
{
	char path[64], link[256] = "", buf[8] = "";
	int a = OK(memfd_create("some name", MFD_CLOEXEC)), b = OK(memfd_create("", 0));
	EQ(write(a, "content", 7), 7);
	OK(ftruncate(a, 40 * PAGE));
	EQ(pwrite(a, "far", 3, 30 * PAGE), 3);
	EQ(lseek(a, 3, SEEK_SET), 3);
	OK(fchmod(a, 0640));
	snprintf(path, sizeof path, "/proc/self/fd/%d", a);
	int ro = OK(open(path, O_RDONLY)), twin = OK(dup(a));
	OK(fcntl(b, F_SETFL, O_APPEND | O_NONBLOCK));
	checkpoint();
	OK(readlink(path, link, sizeof link - 1));
	STR_EQ(link, "/memfd:some name (deleted)");
	struct stat st;
	OK(fstat(a, &st));
	EQ(st.st_size, 40 * PAGE);
	EQ(st.st_mode & 07777, 0640);
	CHECK(st.st_blocks <= 16 + 8);
	EQ(lseek(a, 0, SEEK_CUR), 3);
	EQ(pread(ro, buf, 7, 0), 7);
	STR_EQ(buf, "content");
	memset(buf, 0, 8);
	EQ(pread(ro, buf, 3, 30 * PAGE), 3);
	STR_EQ(buf, "far");
	ERR(write(ro, "x", 1), EBADF);
	CHECK(same_description(a, twin));
	EQ(fcntl(a, F_GETFD), FD_CLOEXEC);
	EQ(fcntl(b, F_GETFL) & (O_APPEND | O_NONBLOCK), O_APPEND | O_NONBLOCK);
	EQ(fcntl(a, F_GET_SEALS), F_SEAL_SEAL);
	return pass();
}
