/* Times, extended attributes and inode flags of memfds, one of them sealed and mapped, one of huge pages. */
#include "../guest.h"
#include <linux/fs.h>
#include <sys/xattr.h>
#define HUGE (2UL << 20)
static struct stat stat_of(int fd)
{
	struct stat st;
	OK(fstat(fd, &st));
	return st;
}
static void same_times(struct stat is, struct stat was)
{
	EQ(is.st_atim.tv_sec, was.st_atim.tv_sec);
	EQ(is.st_atim.tv_nsec, was.st_atim.tv_nsec);
	EQ(is.st_mtim.tv_sec, was.st_mtim.tv_sec);
	EQ(is.st_mtim.tv_nsec, was.st_mtim.tv_nsec);
}
static int flags_of(int fd)
{
	int flags = 0;
	return ioctl(fd, FS_IOC_GETFLAGS, &flags) ? 0 : flags;
}
static void set_flags(int fd, int flags)
{
	flags |= flags_of(fd);
	OK(ioctl(fd, FS_IOC_SETFLAGS, &flags));
}
int main(void)
{
	struct timespec times[2] = { { 1000000000, 123456789 }, { 1100000000, 987654321 } };
	int a = OK(memfd_create("a", MFD_ALLOW_SEALING)), b = OK(memfd_create("b", 0)), flags;
	EQ(write(a, "text", 4), 4);
	char *p = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, a, 0);
	CHECK(p != MAP_FAILED);
	bool xattrs = !fsetxattr(a, "user.one", "value\0with zero", 15, 0);
	if (xattrs)
		OK(fsetxattr(a, "user.empty", "", 0, 0));
	bool trusted = !fsetxattr(a, "trusted.t", "trust", 5, 0);
	OK(fcntl(a, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW));
	OK(futimens(a, times));
	EQ(write(b, "fixed", 5), 5);
	bool has_flags = !ioctl(b, FS_IOC_GETFLAGS, &flags);
	if (has_flags) {
		set_flags(a, FS_NODUMP_FL);
		set_flags(b, FS_IMMUTABLE_FL | FS_NOATIME_FL);
	}
	int huge = memfd_create("huge", MFD_HUGETLB);
	if (huge >= 0) {
		OK(ftruncate(huge, HUGE));
		OK(futimens(huge, times));
	}
	struct stat was_a = stat_of(a), was_b = stat_of(b);
	int flags_a = flags_of(a), flags_b = flags_of(b);
	checkpoint();
	same_times(stat_of(a), was_a);
	same_times(stat_of(b), was_b);
	EQ(stat_of(a).st_mtim.tv_nsec, 987654321);
	EQ(flags_of(a), flags_a);
	EQ(flags_of(b), flags_b);
	char got[64] = "";
	EQ(memcmp(p, "text", 4), 0);
	if (xattrs) {
		EQ(fgetxattr(a, "user.one", got, sizeof got), 15);
		CHECK(!memcmp(got, "value\0with zero", 15));
		EQ(fgetxattr(a, "user.empty", got, sizeof got), 0);
	}
	if (trusted)
		EQ(fgetxattr(a, "trusted.t", got, sizeof got), 5);
	EQ(pread(b, got, 5, 0), 5);
	if (huge >= 0) {
		EQ(stat_of(huge).st_atim.tv_sec, 1000000000);
		EQ(stat_of(huge).st_mtim.tv_nsec, 987654321);
	}
	return pass();
}
