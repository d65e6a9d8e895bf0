/* A deleted directory whose name is a directory again: the old one and what lay in it are not the new one's. */
#include "../files.h"
#include <dirent.h>
int main(void)
{
	OK(mkdir("d", 0711));
	int d = OK(open("d", O_RDONLY | O_DIRECTORY)), old = made("d/f", O_RDWR, 0600, "old");
	OK(unlink("d/f"));
	OK(rmdir("d"));
	OK(mkdir("d", 0755));
	int fresh = OK(open("d", O_RDONLY | O_DIRECTORY)), new = made("d/f", O_RDWR, 0600, "new");
	checkpoint();
	holds(old, "old");
	holds(new, "new");
	EQ(stat_of(d).st_nlink, 0);
	EQ(stat_of(d).st_mode, S_IFDIR | 0711);
	EQ(stat_of(fresh).st_nlink, 2);
	EQ(stat_of(old).st_nlink, 0);
	is_at(new, "d/f");
	is_at(fresh, "d");
	ERR(openat(d, "f", O_RDONLY), ENOENT);
	ERR(openat(d, "x", O_CREAT | O_RDWR, 0600), ENOENT);
	DIR *entries = fdopendir(OK(open("d", O_RDONLY)));
	int count = 0;
	while (readdir(entries))
		count++;
	EQ(count, 3); /* ".", "..", "f" */
	return pass();
}
