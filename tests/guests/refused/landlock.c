/* A set of Landlock rules. */
#include "../guest.h"
#include <linux/landlock.h>
int main(void)
{
	struct landlock_ruleset_attr attr = { .handled_access_fs = LANDLOCK_ACCESS_FS_EXECUTE };
	int fd = syscall(SYS_landlock_create_ruleset, &attr, sizeof attr, 0);
	if (fd < 0)
		SKIP("landlock_create_ruleset: %s", strerror(errno));
	EQ(fd, 3);
	checkpoint();
	OK(fcntl(fd, F_GETFD));
	return pass();
}
