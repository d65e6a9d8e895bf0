/* Flags of the inodes of deleted files and of a deleted directory, those among them that forbid to remove the file. */
#include "../files.h"
#include <linux/fs.h>
static int flags_of(int fd)
{
	int flags = 0;
	OK(ioctl(fd, FS_IOC_GETFLAGS, &flags));
	return flags;
}
static void set(int fd, int flags)
{
	flags |= flags_of(fd);
	OK(ioctl(fd, FS_IOC_SETFLAGS, &flags));
}
int main(void)
{
	enum { PLAIN, QUIET, FIXED, LOG, NAMELESS, FOLDER, COUNT };
	static const int wanted[COUNT] = { 0, FS_NODUMP_FL | FS_NOATIME_FL, FS_IMMUTABLE_FL, FS_APPEND_FL, FS_IMMUTABLE_FL | FS_NODUMP_FL,
					   FS_NODUMP_FL };
	int fd[COUNT], flags, was[COUNT];
	fd[PLAIN] = made("plain", O_RDWR, 0600, "text");
	fd[QUIET] = made("quiet", O_RDWR, 0600, "text");
	fd[FIXED] = made("fixed", O_RDWR, 0600, "text");
	fd[LOG] = made("log", O_RDWR, 0600, "text");
	fd[NAMELESS] = OK(open(".", O_TMPFILE | O_RDWR, 0600));
	EQ(write(fd[NAMELESS], "text", 4), 4);
	OK(mkdir("folder", 0700));
	fd[FOLDER] = OK(open("folder", O_RDONLY | O_DIRECTORY));
	if (ioctl(fd[PLAIN], FS_IOC_GETFLAGS, &flags))
		SKIP("no attributes on this filesystem: %s", strerror(errno));
	OK(unlink("plain"));
	OK(unlink("quiet"));
	OK(unlink("fixed"));
	OK(unlink("log"));
	OK(rmdir("folder"));
	for (int i = 0; i < COUNT; i++) {
		set(fd[i], wanted[i]);
		was[i] = flags_of(fd[i]);
	}
	checkpoint();
	for (int i = 0; i < COUNT; i++) {
		/* How the content lies on the disk is none of ours. */
		int mask = FS_FL_USER_MODIFIABLE & ~FS_EXTENT_FL;
		EQ(flags_of(fd[i]) & mask, was[i] & mask);
		EQ(stat_of(fd[i]).st_nlink, 0);
		if (i != FOLDER)
			holds(fd[i], "text");
	}
	return pass();
}
