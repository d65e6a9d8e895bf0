/* Names lost while others remain, of one inode by several descriptors, of one whose lost name was taken, of a file
 * that is only mapped, of a device node. */
#include "../files.h"
#include <dirent.h>
#include <sys/sysmacros.h>
int main(void)
{
	int a = made("a", O_RDWR, 0600, "three names");
	OK(link("a", "b"));
	OK(link("a", "kept"));
	int b = OK(open("b", O_RDONLY)), b2 = OK(open("b", O_WRONLY | O_APPEND));
	OK(unlink("a"));
	OK(unlink("b"));
	int t = made("t", O_RDWR, 0600, "lost its name");
	OK(link("t", "t-kept"));
	OK(unlink("t"));
	int taken = made("t", O_RDWR, 0600, "took it");
	int m = made("m", O_RDWR, 0600, "mapped"), null = -1;
	OK(link("m", "m-kept"));
	char *mapped = map(PAGE, PROT_READ, MAP_SHARED, m, 0);
	close(m);
	OK(unlink("m"));
	if (!mknod("null", S_IFCHR | 0600, makedev(1, 3))) {
		OK(link("null", "null-kept"));
		null = open("null", O_WRONLY);
		OK(unlink("null"));
	}
	checkpoint();
	same_inode(stat_of(a), stat_of(b));
	is_at(a, "kept");
	EQ(stat_of(a).st_nlink, 1);
	EQ(write(b2, "!", 1), 1);
	holds(a, "three names!");
	is_at(t, "t-kept");
	is_at(taken, "t");
	holds(t, "lost its name");
	leads_to(b, "b (deleted)");
	STR_EQ(mapped, "mapped");
	if (null >= 0)
		is_at(null, "null-kept");
	DIR *d = opendir(".");
	for (struct dirent *e; (e = readdir(d));)
		CHECK(strncmp(e->d_name, "link_remap", 10) && strncmp(e->d_name, ".criu", 5));
	return pass();
}
