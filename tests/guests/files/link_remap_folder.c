/* The name by which a file was opened is gone with its directory; another hard link remains. */
#include "../guest.h"
int main(void)
{
	struct stat st, other;
	OK(mkdir("folder", 0700));
	int fd = OK(open("folder/first", O_CREAT | O_RDWR, 0600));
	OK(link("folder/first", "second"));
	OK(unlink("folder/first"));
	OK(rmdir("folder"));
	checkpoint();
	OK(fstat(fd, &st));
	OK(stat("second", &other));
	EQ(st.st_ino, other.st_ino);
	EQ(st.st_nlink, 1);
	ERR(access("folder", F_OK), ENOENT);
	return pass();
}
