/* A deleted FIFO with data. */
#include "../guest.h"
int main(void)
{
	char buf[32] = "";
	OK(mkfifo("gone", 0600));
	int rw = OK(open("gone", O_RDWR | O_NONBLOCK)), r = OK(open("gone", O_RDONLY | O_NONBLOCK));
	EQ(write(rw, "still here", 10), 10);
	OK(unlink("gone"));
	checkpoint();
	EQ(read(r, buf, sizeof buf), 10);
	CHECK(!memcmp(buf, "still here", 10));
	ERR(access("gone", F_OK), ENOENT);
	struct stat st;
	OK(fstat(r, &st));
	CHECK(S_ISFIFO(st.st_mode));
	return pass();
}
