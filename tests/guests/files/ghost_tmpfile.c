/* O_TMPFILE: a file that never had a name, and can be given one. */
#include "../guest.h"
int main(void)
{
	char path[64], buf[16] = "";
	int fd = open(".", O_TMPFILE | O_RDWR, 0600);
	if (fd < 0)
		SKIP("no O_TMPFILE on this filesystem: %s", strerror(errno));
	EQ(write(fd, "nameless", 8), 8);
	checkpoint();
	struct stat st;
	OK(fstat(fd, &st));
	EQ(st.st_nlink, 0);
	EQ(lseek(fd, 0, SEEK_CUR), 8);
	EQ(pread(fd, buf, 8, 0), 8);
	STR_EQ(buf, "nameless");
	(void)path;
	return pass();
}
