/* What the guests about files share: what a descriptor leads to and holds. */
#ifndef FILES_H
#define FILES_H
#include "guest.h"

/* Makes a file with this content and leaves it open. */
static inline int made(const char *path, int flags, mode_t mode, const char *text)
{
	int fd = OK(open(path, O_CREAT | O_EXCL | flags, mode));
	EQ(write(fd, text, strlen(text)), strlen(text));
	return fd;
}

/* The file holds exactly this, wherever the offset of the description is. */
static inline void holds(int fd, const char *text)
{
	char got[4096] = "";
	EQ(pread(fd, got, sizeof got - 1, 0), strlen(text));
	STR_EQ(got, text);
}

/* Where a descriptor leads, as /proc says it. */
static inline const char *link_of(int fd)
{
	static char to[PATH_MAX];
	char path[64];
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	to[OK(readlink(path, to, sizeof to - 1))] = 0;
	return to;
}

/* The same in the guest's directory. */
static inline void leads_to(int fd, const char *name)
{
	char path[PATH_MAX + 64];
	snprintf(path, sizeof path, "%s/%s", guest_dir, name);
	STR_EQ(link_of(fd), path);
}

static inline struct stat stat_of(int fd)
{
	struct stat st;
	OK(fstat(fd, &st));
	return st;
}

/* Both are one inode. */
static inline void same_inode(struct stat a, struct stat b)
{
	EQ(a.st_dev, b.st_dev);
	EQ(a.st_ino, b.st_ino);
}

/* The descriptor is the file that the path leads to. */
static inline void is_at(int fd, const char *path)
{
	struct stat st;
	OK(lstat(path, &st));
	same_inode(stat_of(fd), st);
}
#endif
