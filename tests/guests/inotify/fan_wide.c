/* Marks of mounts and of whole file systems, with ignored masks. */
#include "../notify.h"
int main(void)
{
	int fd = fan_init(FAN_CLASS_NOTIF | FAN_NONBLOCK, O_RDONLY);
	char name[64];
	snprintf(name, sizeof name, "/dev/shm/criu-test-%d", (int)getpid());
	touch(name);
	/* An event that no other test makes: what it ignores, it ignores everywhere. */
	OK(fanotify_mark(fd, FAN_MARK_ADD | FAN_MARK_MOUNT, FAN_OPEN_EXEC, AT_FDCWD, "/dev/shm"));
	OK(fanotify_mark(fd, FAN_MARK_ADD | FAN_MARK_MOUNT | FAN_MARK_IGNORED_MASK | FAN_MARK_IGNORED_SURV_MODIFY,
			 FAN_ACCESS, AT_FDCWD, "/dev/shm"));
	OK(fanotify_mark(fd, FAN_MARK_ADD | FAN_MARK_FILESYSTEM, FAN_OPEN_EXEC, AT_FDCWD, "/dev/pts"));
	OK(fanotify_mark(fd, FAN_MARK_ADD, FAN_CLOSE_WRITE, AT_FDCWD, name));
	const char *before = watched(fd);
	checkpoint();
	const char *after = watched(fd);
	EQ(strlen(after), strlen(before)); /* a file system's mark may stand elsewhere in the list */
	char *lines = strdup(before);
	for (char *line = strtok(lines, "\n"); line; line = strtok(NULL, "\n"))
		if (!strstr(after, line))
			FAIL("the line '%s' is not in '%s'", line, after);
	quiet(fd);
	append(name);
	OK(close(FAN_EVENT(fd, FAN_CLOSE_WRITE)));
	OK(unlink(name));
	return pass();
}
