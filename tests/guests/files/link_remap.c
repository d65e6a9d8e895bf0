/* The name by which a file was opened is gone, another hard link remains: the same inode is found again. */
#include "../guest.h"
int main(void)
{
	char buf[16] = "";
	struct stat st, st2;
	int fd = OK(open("first", O_CREAT | O_RDWR, 0600));
	EQ(write(fd, "linked", 6), 6);
	OK(link("first", "second"));
	OK(unlink("first"));
	checkpoint();
	OK(fstat(fd, &st));
	OK(stat("second", &st2));
	EQ(st.st_ino, st2.st_ino);
	EQ(st.st_nlink, 1);
	EQ(lseek(fd, 0, SEEK_CUR), 6);
	EQ(pread(fd, buf, 6, 0), 6);
	STR_EQ(buf, "linked");
	ERR(access("first", F_OK), ENOENT);
	EQ(pwrite(fd, "LINKED", 6, 0), 6);
	int other = OK(open("second", O_RDONLY));
	EQ(read(other, buf, 6), 6);
	STR_EQ(buf, "LINKED");
	return pass();
}
