/* Both names of an inode are gone: descriptors opened by either are one file still, and show the names they had. */
#include "../files.h"
int main(void)
{
	int a = made("first", O_RDWR, 0640, "one inode");
	OK(link("first", "second"));
	int b = OK(open("second", O_RDWR | O_APPEND)), c = OK(open("second", O_RDONLY));
	OK(unlink("first"));
	OK(unlink("second"));
	checkpoint();
	EQ(stat_of(a).st_nlink, 0);
	same_inode(stat_of(a), stat_of(b));
	same_inode(stat_of(a), stat_of(c));
	leads_to(a, "first (deleted)");
	leads_to(b, "second (deleted)");
	leads_to(c, "second (deleted)");
	EQ(write(b, "!", 1), 1);
	holds(a, "one inode!");
	holds(c, "one inode!");
	CHECK(!same_description(b, c));
	ERR(access("first", F_OK), ENOENT);
	ERR(access("second", F_OK), ENOENT);
	return pass();
}
