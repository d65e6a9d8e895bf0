/* What guests with inotify and fanotify share. */
#ifndef NOTIFY_H
#define NOTIFY_H
#include "guest.h"
#include <sys/fanotify.h>
#include <sys/inotify.h>

/* What fdinfo says of a group: its watches or marks, in the kernel's order. */
static inline const char *watched(int fd)
{
	static char text[8][1 << 17];
	static int next;
	char *to = text[next++ % 8], path[64], line[4096];
	*to = 0;
	snprintf(path, sizeof path, "/proc/self/fdinfo/%d", fd);
	FILE *f = fopen(path, "re");
	if (!f)
		FAIL("open %s: %s", path, strerror(errno));
	while (fgets(line, sizeof line, f))
		if (strstr(line, "notify ") && strlen(to) + strlen(line) < sizeof *text)
			strcat(to, line);
	fclose(f);
	return to;
}

/* Nothing waits to be read. */
static inline void quiet(int fd)
{
	int n = -1;
	OK(ioctl(fd, FIONREAD, &n));
	EQ(n, 0);
}

/* The next event of inotify is this one. */
static inline void event_at(const char *where, int fd, int wd, uint32_t mask, const char *name)
{
	static char buffer[4096];
	static int at, end, of = -1;
	if (at == end || of != fd) {
		if (at != end)
			FAIL("%s: events of descriptor %d are left", where, of);
		struct pollfd p = { fd, POLLIN, 0 };
		if (poll(&p, 1, 5000) != 1)
			FAIL("%s: no event %#x of watch %d", where, mask, wd);
		at = 0;
		end = (int)OK(read(fd, buffer, sizeof buffer));
		of = fd;
	}
	struct inotify_event *e = (void *)(buffer + at);
	at += (int)(sizeof *e + e->len);
	if (e->wd != wd || e->mask != mask || strcmp(e->len ? e->name : "", name))
		FAIL("%s: event %#x of watch %d, '%s'; expected %#x of watch %d, '%s'", where, e->mask, e->wd,
		     e->len ? e->name : "", mask, wd, name);
}
#define STRING_(x) #x
#define STRING(x) STRING_(x)
#define EVENT(fd, wd, mask, name) event_at(STRING(__LINE__), fd, wd, mask, name)

static inline int fan_init(unsigned flags, unsigned event_flags)
{
	int fd = (int)syscall(SYS_fanotify_init, flags, event_flags);
	if (fd < 0 && (errno == ENOSYS || errno == EINVAL))
		SKIP("fanotify_init(%#x): %s", flags, strerror(errno));
	return (int)OK(fd);
}

/* The next event of fanotify has this mask; returns its descriptor, which may be FAN_NOFD. */
static inline int fan_event_at(const char *where, int fd, uint64_t mask)
{
	struct pollfd p = { fd, POLLIN, 0 };
	if (poll(&p, 1, 5000) != 1)
		FAIL("%s: no event %#llx", where, (unsigned long long)mask);
	char buffer[FAN_EVENT_METADATA_LEN + 512];
	/* One event with its records: a group that reports names gives no more than fit. */
	ssize_t n = read(fd, buffer, sizeof buffer);
	struct fanotify_event_metadata *e = (void *)buffer;
	if (n < (ssize_t)FAN_EVENT_METADATA_LEN || e->vers != FANOTIFY_METADATA_VERSION)
		FAIL("%s: read %zd, %s", where, n, strerror(errno));
	if (e->mask != mask || n != e->event_len)
		FAIL("%s: event %#llx, expected %#llx (%zd bytes of %u)", where, (unsigned long long)e->mask,
		     (unsigned long long)mask, n, e->event_len);
	return e->fd;
}
#define FAN_EVENT(fd, mask) fan_event_at(STRING(__LINE__), fd, mask)

static inline void touch(const char *path)
{
	close((int)OK(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600)));
}
static inline void append(const char *path)
{
	int fd = (int)OK(open(path, O_WRONLY | O_APPEND | O_CLOEXEC));
	EQ(write(fd, "x", 1), 1);
	close(fd);
}
/* The very inode behind a descriptor. */
static inline const char *behind(int fd)
{
	static char path[8][32];
	static int next;
	char *to = path[next++ % 8];
	snprintf(to, sizeof *path, "/proc/self/fd/%d", fd);
	return to;
}
#endif
