/* Renamed over an open file; two open files that have exchanged their names; a moved file whose old name is taken. */
#include "../files.h"
int main(void)
{
	int lost = made("a", O_RDWR, 0600, "lost"), over = made("b", O_RDWR, 0600, "over");
	OK(rename("b", "a"));
	int x = made("x", O_RDWR, 0600, "first x"), y = made("y", O_RDWR, 0600, "first y");
	OK(syscall(SYS_renameat2, AT_FDCWD, "x", AT_FDCWD, "y", 2 /* RENAME_EXCHANGE */));
	int moved = made("m", O_RDWR, 0600, "moved");
	OK(rename("m", "n"));
	int taken = made("m", O_RDWR, 0600, "taken");
	OK(mkdir("old", 0700));
	int inside = made("old/f", O_RDWR, 0600, "inside");
	OK(rename("old", "new"));
	OK(mkdir("old", 0700));
	int other = made("old/f", O_RDWR, 0600, "other");
	checkpoint();
	holds(lost, "lost");
	holds(over, "over");
	EQ(stat_of(lost).st_nlink, 0);
	is_at(over, "a");
	is_at(x, "y");
	is_at(y, "x");
	holds(x, "first x");
	holds(y, "first y");
	is_at(moved, "n");
	is_at(taken, "m");
	is_at(inside, "new/f");
	is_at(other, "old/f");
	ERR(access("b", F_OK), ENOENT);
	return pass();
}
