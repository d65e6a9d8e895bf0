/* A process that waits inside vfork(2), which no signal and no tracer ends: it cannot be stopped. */
#include "../guest.h"
int main(void)
{
	char path[PATH_MAX];
	snprintf(path, sizeof path, "%s/ready", guest_dir);
	if (vfork() == 0) {
		symlink("ready", path);
		pause();
		_exit(0);
	}
	return pass();
}
