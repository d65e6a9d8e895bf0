/* The pipe by which the kernel asks for automatic mounts. */
#include "../guest.h"
#include <sys/mount.h>
int main(void)
{
	char options[128];
	int ends[2];
	OK(mkdir("auto", 0755));
	OK(pipe(ends));
	snprintf(options, sizeof options, "fd=%d,pgrp=%d,minproto=5,maxproto=5,indirect", ends[1], (int)getpgrp());
	if (mount("guest", "auto", "autofs", 0, options))
		SKIP("no autofs: %s", strerror(errno));
	close(ends[1]);
	checkpoint();
	OK(umount2("auto", MNT_DETACH));
	return pass();
}
