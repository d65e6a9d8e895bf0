/* A file that a mount hides. */
#include "../guest.h"
#include <sys/mount.h>
int main(void)
{
	OK(mkdir("d", 0700));
	int fd = OK(open("d/f", O_CREAT | O_RDWR, 0600));
	OK(mount("none", "d", "tmpfs", 0, NULL));
	checkpoint();
	OK(umount("d"));
	EQ(write(fd, "x", 1), 1);
	return pass();
}
