/* A listener that decides on accesses to its own program, which a dump opens. */
#include "../notify.h"
int main(void)
{
	int fd = fan_init(FAN_CLASS_CONTENT, O_RDONLY);
	if (fanotify_mark(fd, FAN_MARK_ADD, FAN_OPEN_PERM, AT_FDCWD, "/proc/self/exe") && errno == EINVAL)
		SKIP("the kernel has no permission events");
	checkpoint();
	quiet(fd);
	return pass();
}
