/* Extended attributes of a deleted file and a deleted directory, access control lists among them. */
#include "../files.h"
#include <sys/xattr.h>
static void has(int fd, const char *name, const void *value, size_t size)
{
	char got[4096];
	EQ(fgetxattr(fd, name, got, sizeof got), size);
	CHECK(!memcmp(got, value, size));
}
int main(void)
{
	/* struct posix_acl_xattr_header and entries: user::rw-, user:1234:rwx, group::r--, mask::rwx, other::--- */
	struct __attribute__((packed)) {
		uint32_t version;
		struct __attribute__((packed)) { uint16_t tag, perm; uint32_t id; } e[5];
	} acl = {2, {{1, 6, -1}, {2, 7, 1234}, {4, 4, -1}, {16, 7, -1}, {32, 0, -1}}};
	static char large[3000];
	memset(large, 'v', sizeof large);
	int f = made("f", O_RDWR, 0640, "x");
	OK(mkdir("d", 0750));
	int d = OK(open("d", O_RDONLY | O_DIRECTORY));
	if (fsetxattr(f, "user.one", "value\0with zero", 15, 0))
		SKIP("no extended attributes on this filesystem: %s", strerror(errno));
	OK(fsetxattr(f, "user.empty", "", 0, 0));
	OK(fsetxattr(f, "user.large", large, sizeof large, 0));
	OK(fsetxattr(f, "trusted.t", "trust", 5, 0));
	OK(fsetxattr(f, "security.other", "label", 5, 0));
	bool acls = !fsetxattr(f, "system.posix_acl_access", &acl, sizeof acl, 0);
	OK(fsetxattr(d, "user.d", "dir", 3, 0));
	if (acls)
		OK(fsetxattr(d, "system.posix_acl_default", &acl, sizeof acl, 0));
	mode_t mode = stat_of(f).st_mode;
	OK(unlink("f"));
	OK(rmdir("d"));
	checkpoint();
	has(f, "user.one", "value\0with zero", 15);
	has(f, "user.empty", "", 0);
	has(f, "user.large", large, sizeof large);
	has(f, "trusted.t", "trust", 5);
	has(f, "security.other", "label", 5);
	has(d, "user.d", "dir", 3);
	if (acls) {
		has(f, "system.posix_acl_access", &acl, sizeof acl);
		has(d, "system.posix_acl_default", &acl, sizeof acl);
	}
	EQ(stat_of(f).st_mode, mode);
	return pass();
}
