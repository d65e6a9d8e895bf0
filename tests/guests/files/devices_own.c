/* Device nodes of one's own: another path to the null device, one that was deleted, one that was replaced. */
#include "../files.h"
#include <sys/sysmacros.h>
int main(void)
{
	char byte = 1;
	if (mknod("null", S_IFCHR | 0622, makedev(1, 3)))
		SKIP("no device nodes may be made here: %s", strerror(errno));
	OK(mknod("zero", S_IFCHR | 0604, makedev(1, 5)));
	OK(mknod("full", S_IFCHR | 0600, makedev(1, 7)));
	int null = open("null", O_WRONLY | O_APPEND);
	if (null < 0)
		SKIP("device nodes do not work on this filesystem: %s", strerror(errno));
	int zero = OK(open("zero", O_RDONLY | O_NONBLOCK)), full = OK(open("full", O_RDWR)), flags = OK(fcntl(null, F_GETFL));
	OK(unlink("zero"));
	OK(unlink("full"));
	OK(mknod("full", S_IFCHR | 0600, makedev(1, 3)));
	checkpoint();
	EQ(fcntl(null, F_GETFL), flags);
	is_at(null, "null");
	EQ(write(null, "x", 1), 1);
	EQ(read(zero, &byte, 1), 1);
	EQ(byte, 0);
	EQ(stat_of(zero).st_rdev, makedev(1, 5));
	EQ(stat_of(zero).st_mode, S_IFCHR | 0604);
	EQ(stat_of(zero).st_nlink, 0);
	ERR(write(full, "x", 1), ENOSPC);
	EQ(stat_of(full).st_rdev, makedev(1, 7));
	ERR(access("zero", F_OK), ENOENT);
	struct stat st;
	OK(stat("full", &st));
	EQ(st.st_rdev, makedev(1, 3));
	return pass();
}
