/* Files that have become immutable or append-only since they were opened for writing. */
#include "../files.h"
#include <linux/fs.h>
static void attribute(int fd, int on)
{
	int flags;
	OK(ioctl(fd, FS_IOC_GETFLAGS, &flags));
	flags &= ~(FS_IMMUTABLE_FL | FS_APPEND_FL);
	flags |= on;
	OK(ioctl(fd, FS_IOC_SETFLAGS, &flags));
}
int main(void)
{
	int flags;
	int fixed = made("fixed", O_RDWR, 0600, "cannot be opened so"), log = made("log", O_RDWR, 0600, "grows only"),
	    reads = OK(open("fixed", O_RDONLY));
	if (ioctl(fixed, FS_IOC_GETFLAGS, &flags))
		SKIP("no attributes on this filesystem: %s", strerror(errno));
	attribute(fixed, FS_IMMUTABLE_FL);
	attribute(log, FS_APPEND_FL);
	checkpoint();
	holds(fixed, "cannot be opened so");
	holds(reads, "cannot be opened so");
	holds(log, "grows only");
	EQ(fcntl(fixed, F_GETFL) & O_ACCMODE, O_RDWR);
	EQ(fcntl(log, F_GETFL) & O_ACCMODE, O_RDWR);
	OK(ioctl(reads, FS_IOC_GETFLAGS, &flags));
	CHECK(flags & FS_IMMUTABLE_FL);
	OK(ioctl(log, FS_IOC_GETFLAGS, &flags));
	CHECK(flags & FS_APPEND_FL);
	ERR(open("fixed", O_RDWR), EPERM);
	ERR(open("log", O_WRONLY), EPERM);
	attribute(fixed, 0);
	attribute(log, 0);
	return pass();
}
