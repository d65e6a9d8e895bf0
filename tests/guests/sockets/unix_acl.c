/* The files of bound sockets keep their access control lists and other attributes, renamed ones too. */
#include "../unix.h"
#include <sys/xattr.h>
static const char acl[] = "system.posix_acl_access", mark[] = "trusted.of-a-socket";
/* struct posix_acl_xattr_header and its entries: rw for the owner, a user, nobody else. */
static const unsigned char list[] = {
	2, 0, 0, 0,
	1, 0, 6, 0, 0xff, 0xff, 0xff, 0xff,
	2, 0, 6, 0, 0xd2, 0x04, 0, 0, /* user 1234 */
	4, 0, 0, 0, 0xff, 0xff, 0xff, 0xff,
	16, 0, 6, 0, 0xff, 0xff, 0xff, 0xff,
	32, 0, 0, 0, 0xff, 0xff, 0xff, 0xff,
};
static void give(const char *path)
{
	if (setxattr(path, acl, list, sizeof list, 0))
		SKIP("%s: %s", acl, strerror(errno));
	if (setxattr(path, mark, "of old", 6, 0))
		SKIP("%s: %s", mark, strerror(errno));
}
static void has(const char *path)
{
	unsigned char value[128];
	struct stat s;
	EQ(getxattr(path, acl, value, sizeof value), (ssize_t)sizeof list);
	EQ(memcmp(value, list, sizeof list), 0);
	EQ(getxattr(path, mark, value, sizeof value), 6);
	EQ(memcmp(value, "of old", 6), 0);
	OK(stat(path, &s));
	EQ(s.st_mode, S_IFSOCK | 0660);
}
int main(void)
{
	char path[PATH_MAX], moved[PATH_MAX];
	snprintf(path, sizeof path, "%s/s", guest_dir);
	snprintf(moved, sizeof moved, "%s/moved", guest_dir);
	int listening = OK(socket(AF_UNIX, SOCK_STREAM, 0));
	int relative = OK(socket(AF_UNIX, SOCK_DGRAM, 0)), plain = OK(socket(AF_UNIX, SOCK_DGRAM, 0));
	int renamed = OK(socket(AF_UNIX, SOCK_DGRAM, 0));
	un_bind(listening, path);
	OK(listen(listening, 4));
	un_bind(relative, "r");
	un_bind(renamed, "before");
	OK(rename("before", "moved"));
	un_bind(plain, "p");
	give(path);
	give("r");
	give(moved);
	checkpoint();
	has(path);
	has("r");
	has(moved);
	ERR(getxattr("p", acl, NULL, 0), ENODATA);
	int client = OK(socket(AF_UNIX, SOCK_STREAM, 0));
	OK(un_connect(client, path));
	return pass();
}
