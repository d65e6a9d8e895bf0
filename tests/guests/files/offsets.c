/* Regular files: offset, content, access mode, a gap in the table, a high number. */
#include "../guest.h"
int main(void)
{
	char buf[64] = "";
	int w = OK(open("data", O_CREAT | O_RDWR, 0640));
	EQ(write(w, "0123456789", 10), 10);
	int r = OK(open("data", O_RDONLY));
	EQ(lseek(r, 4, SEEK_SET), 4);
	OK(dup2(r, 200));
	close(r);
	EQ(lseek(200, 5, SEEK_SET), 5);
	int o = OK(open("data", O_WRONLY));
	EQ(lseek(o, 1 << 20, SEEK_SET), 1 << 20); /* beyond the end */
	checkpoint();
	EQ(lseek(200, 0, SEEK_CUR), 5);
	EQ(read(200, buf, 3), 3);
	STR_EQ(buf, "567");
	ERR(write(200, "x", 1), EBADF);
	EQ(lseek(w, 0, SEEK_CUR), 10);
	EQ(write(w, "AB", 2), 2);
	EQ(pread(200, buf, 20, 0), 12);
	CHECK(!memcmp(buf, "0123456789AB", 12));
	EQ(lseek(o, 0, SEEK_CUR), 1 << 20);
	ERR(read(o, buf, 1), EBADF);
	return pass();
}
