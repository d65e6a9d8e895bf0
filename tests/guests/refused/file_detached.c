/* A file on a mount that is nowhere any more. */
#include "../guest.h"
#include <sys/mount.h>
int main(void)
{
	OK(mkdir("d", 0700));
	OK(mount("none", "d", "tmpfs", 0, NULL));
	int fd = OK(open("d/odd-name-of-a-file", O_CREAT | O_RDWR, 0600));
	OK(umount2("d", MNT_DETACH));
	checkpoint();
	EQ(write(fd, "x", 1), 1);
	return pass();
}
