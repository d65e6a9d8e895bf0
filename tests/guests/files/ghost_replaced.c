/* A deleted file whose name was taken by another one: both are open. */
#include "../guest.h"
int main(void)
{
	char buf[16] = "";
	int old = OK(open("f", O_CREAT | O_RDWR, 0600));
	EQ(write(old, "old", 3), 3);
	OK(unlink("f"));
	int new = OK(open("f", O_CREAT | O_RDWR | O_EXCL, 0600));
	EQ(write(new, "new", 3), 3);
	checkpoint();
	EQ(pread(old, buf, 3, 0), 3);
	STR_EQ(buf, "old");
	EQ(pread(new, buf, 3, 0), 3);
	STR_EQ(buf, "new");
	int f = OK(open("f", O_RDONLY));
	EQ(read(f, buf, 3), 3);
	STR_EQ(buf, "new");
	struct stat a, b;
	OK(fstat(f, &a));
	OK(fstat(new, &b));
	EQ(a.st_ino, b.st_ino);
	OK(fstat(old, &a));
	EQ(a.st_nlink, 0);
	return pass();
}
