/* Two deleted names of one inode, one of them taken by another file; a third inode had lost both, too. */
#include "../files.h"
int main(void)
{
	int a = made("x", O_RDWR, 0600, "shared");
	OK(link("x", "y"));
	int b = OK(open("y", O_RDWR));
	OK(unlink("x"));
	OK(unlink("y"));
	int other = made("y", O_RDWR, 0600, "other");
	OK(link("y", "x"));
	int twin = OK(open("x", O_RDONLY));
	OK(unlink("y"));
	OK(unlink("x"));
	close(made("y", O_RDWR, 0600, "here to stay"));
	checkpoint();
	same_inode(stat_of(a), stat_of(b));
	same_inode(stat_of(other), stat_of(twin));
	CHECK(stat_of(a).st_ino != stat_of(other).st_ino);
	EQ(stat_of(a).st_nlink, 0);
	EQ(stat_of(other).st_nlink, 0);
	holds(a, "shared");
	holds(b, "shared");
	holds(twin, "other");
	int y = OK(open("y", O_RDONLY));
	holds(y, "here to stay");
	EQ(stat_of(y).st_nlink, 1);
	ERR(access("x", F_OK), ENOENT);
	return pass();
}
