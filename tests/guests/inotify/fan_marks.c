/* Marks of inodes: masks with their modifiers, ignored masks of both sorts, evictable ones. */
#include "../notify.h"
#ifndef FAN_MARK_EVICTABLE
#define FAN_MARK_EVICTABLE 0x200
#endif
#ifndef FAN_MARK_IGNORE
#define FAN_MARK_IGNORE 0x400
#endif
int main(void)
{
	int fd = fan_init(FAN_CLASS_NOTIF | FAN_NONBLOCK, O_RDONLY);
	OK(mkdir("d", 0700));
	OK(mkdir("plain", 0700));
	touch("f");
	touch("d/quiet");
	OK(fanotify_mark(fd, FAN_MARK_ADD, FAN_MODIFY | FAN_CLOSE_WRITE, AT_FDCWD, "f"));
	OK(fanotify_mark(fd, FAN_MARK_ADD, FAN_OPEN | FAN_ONDIR | FAN_EVENT_ON_CHILD, AT_FDCWD, "d"));
	OK(fanotify_mark(fd, FAN_MARK_ADD | FAN_MARK_ONLYDIR, FAN_OPEN, AT_FDCWD, "plain"));
	OK(fanotify_mark(fd, FAN_MARK_ADD | FAN_MARK_IGNORED_MASK, FAN_CLOSE, AT_FDCWD, "f"));
	OK(fanotify_mark(fd, FAN_MARK_ADD | FAN_MARK_IGNORED_MASK | FAN_MARK_IGNORED_SURV_MODIFY, FAN_OPEN, AT_FDCWD,
			 "d/quiet"));
	touch("ignored");
	touch("evictable");
	if (!fanotify_mark(fd, FAN_MARK_ADD | FAN_MARK_EVICTABLE, FAN_OPEN, AT_FDCWD, "evictable"))
		OK(fanotify_mark(fd, FAN_MARK_ADD | FAN_MARK_IGNORE | FAN_MARK_IGNORED_SURV_MODIFY,
				 FAN_OPEN, AT_FDCWD, "ignored"));
	char buffer[4096];
	ssize_t n;
	while ((n = read(fd, buffer, sizeof buffer)) > 0)
		for (struct fanotify_event_metadata *e = (void *)buffer; FAN_EVENT_OK(e, n); e = FAN_EVENT_NEXT(e, n))
			close(e->fd);
	const char *before = watched(fd);
	checkpoint();
	STR_EQ(watched(fd), before);
	quiet(fd);
	int file = OK(open("f", O_WRONLY));
	EQ(write(file, "x", 1), 1);
	int seen = FAN_EVENT(fd, FAN_MODIFY);
	struct stat a, b;
	OK(fstat(seen, &a));
	OK(fstat(file, &b));
	EQ(a.st_ino, b.st_ino);
	EQ(fcntl(seen, F_GETFL) & O_ACCMODE, O_RDONLY);
	OK(close(seen));
	OK(close(file)); /* what was ignored until the file changed is told again */
	OK(close(FAN_EVENT(fd, FAN_CLOSE_WRITE)));
	close(OK(open("d/quiet", O_RDONLY)));
	quiet(fd);
	close(OK(open("d", O_RDONLY)));
	OK(close(FAN_EVENT(fd, FAN_OPEN)));
	quiet(fd);
	return pass();
}
