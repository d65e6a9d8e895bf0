/* The capabilities of a deleted program, which a change of its owner or content would take. */
#include "../files.h"
#include <linux/capability.h>
#include <sys/xattr.h>
int main(void)
{
	struct vfs_cap_data cap = {.magic_etc = VFS_CAP_REVISION_2 | VFS_CAP_FLAGS_EFFECTIVE,
				   .data = {{.permitted = 1 << CAP_NET_RAW}}}, got;
	int f = made("program", O_RDWR, 0755, "#!/bin/true\n");
	OK(fchown(f, 5, 6));
	if (fsetxattr(f, "security.capability", &cap, sizeof cap, 0))
		SKIP("no capabilities on this filesystem: %s", strerror(errno));
	OK(unlink("program"));
	checkpoint();
	EQ(fgetxattr(f, "security.capability", &got, sizeof got), sizeof got);
	CHECK(!memcmp(&cap, &got, sizeof got));
	EQ(stat_of(f).st_uid, 5);
	holds(f, "#!/bin/true\n");
	return pass();
}
