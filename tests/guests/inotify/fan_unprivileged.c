/* A listener without privilege: it may mark inodes, and only a fresh one is surely not told who did what. */
#include "../notify.h"
int main(void)
{
	struct latch there = latch_new();
	touch("f");
	OK(chmod("f", 0666));
	OK(chmod(".", 0777));
	pid_t child = OK(fork());
	if (!child) {
		OK(setresuid(1234, 1234, 1234));
		int fd = (int)syscall(SYS_fanotify_init, FAN_CLASS_NOTIF | FAN_REPORT_FID | FAN_NONBLOCK, O_RDONLY);
		if (fd >= 0)
			OK(fanotify_mark(fd, FAN_MARK_ADD, FAN_ATTRIB | FAN_MODIFY, AT_FDCWD, "f"));
		latch_open(there);
		wait_go();
		if (fd < 0)
			_exit(0);
		ERR(fanotify_mark(fd, FAN_MARK_ADD | FAN_MARK_MOUNT, FAN_OPEN, AT_FDCWD, "."), EPERM);
		quiet(fd);
		pid_t other = OK(fork());
		if (!other) {
			append("f");
			_exit(0);
		}
		reap_ok(other);
		char buffer[1024];
		ssize_t n = OK(read(fd, buffer, sizeof buffer));
		struct fanotify_event_metadata *e = (void *)buffer;
		CHECK(n >= (ssize_t)sizeof *e);
		EQ(e->mask, FAN_MODIFY);
		/* Of another process: not told. Newer kernels do not say whether a group was made without privilege. */
		EQ(e->pid, restored() ? e->pid : 0);
		_exit(0);
	}
	latch_wait(there);
	checkpoint();
	reap_ok(child);
	return pass();
}
