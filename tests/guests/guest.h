/* What every guest shares: how it tells the harness where it stands, and how it checks.
 *
 * A guest sets up its state, calls checkpoint(), verifies that state, and returns pass(). The calls leave no
 * descriptor, signal or mapping behind, so that they do not disturb what is tested:
 *  - "ready" and the verdict are symbolic links in the guest's directory, made by one system call each;
 *    the first verdict stands.
 *  - "go" is a FIFO. A guest waits in open(2) until the harness opens the other end, which it then keeps open.
 */
#ifndef GUEST_H
#define GUEST_H
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096UL

static char guest_dir[PATH_MAX - 64];

__attribute__((constructor)) static void guest_init(void)
{
	if (!getcwd(guest_dir, sizeof guest_dir))
		_exit(99);
}

static inline void guest_verdict(const char *fmt, ...)
{
	char path[PATH_MAX], text[2048];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	snprintf(path, sizeof path, "%s/verdict", guest_dir);
	if (symlink(text, path) && errno != EEXIST)
		_exit(98);
}

#define FAIL(fmt, ...)                                                                                              \
	do {                                                                                                        \
		guest_verdict("fail: %s:%d: pid %d: " fmt, __FILE__, __LINE__, (int)getpid(), ##__VA_ARGS__);       \
		_exit(1);                                                                                           \
	} while (0)

/* The condition holds. */
#define CHECK(cond)                                                                                                 \
	do {                                                                                                        \
		if (!(cond))                                                                                        \
			FAIL("%s (errno %d: %s)", #cond, errno, strerror(errno));                                   \
	} while (0)

/* Two integers are equal; both are shown when not. */
#define EQ(left, right)                                                                                             \
	do {                                                                                                        \
		errno = 0;                                                                                          \
		long long left_ = (long long)(left), right_ = (long long)(right);                                   \
		if (left_ != right_)                                                                                \
			FAIL("%s is %lld (%#llx), expected %s = %lld (%#llx), errno %d: %s", #left, left_, left_,   \
			     #right, right_, right_, errno, strerror(errno));                                       \
	} while (0)

#define STR_EQ(left, right)                                                                                         \
	do {                                                                                                        \
		const char *left_ = (left), *right_ = (right);                                                      \
		if (strcmp(left_, right_))                                                                          \
			FAIL("%s is '%.200s', expected '%.200s'", #left, left_, right_);                            \
	} while (0)

/* The call does not return a negative number; its result. */
#define OK(call)                                                                                                    \
	({                                                                                                          \
		errno = 0;                                                                                          \
		long ok_ = (long)(call);                                                                            \
		if (ok_ < 0)                                                                                        \
			FAIL("%s: errno %d: %s", #call, errno, strerror(errno));                                    \
		ok_;                                                                                                \
	})

/* The call returns -1 with that errno. */
#define ERR(call, code)                                                                                             \
	do {                                                                                                        \
		errno = 0;                                                                                          \
		long err_ = (long)(call);                                                                           \
		if (err_ != -1 || errno != (code))                                                                  \
			FAIL("%s returned %ld with errno %d (%s), expected errno %d", #call, err_, errno,           \
			     strerror(errno), (code));                                                              \
	} while (0)

/* The kernel lacks what this guest needs: said by name, and the harness prints it. */
#define SKIP(fmt, ...)                                                                                              \
	do {                                                                                                        \
		guest_verdict("skip: " fmt, ##__VA_ARGS__);                                                         \
		_exit(0);                                                                                           \
	} while (0)

/* Whether a thread of this process sleeps. */
static inline bool thread_sleeps(pid_t tid)
{
	char path[64], text[512], state;
	snprintf(path, sizeof path, "/proc/self/task/%d/stat", tid);
	int fd = OK(open(path, O_RDONLY));
	ssize_t got = OK(read(fd, text, sizeof text - 1));
	text[got] = 0;
	close(fd);
	EQ(sscanf(strrchr(text, ')') + 1, " %c", &state), 1);
	return state == 'S';
}

static inline void wait_go(void)
{
	char path[PATH_MAX];
	snprintf(path, sizeof path, "%s/go", guest_dir);
	int fd;
	while ((fd = open(path, O_RDONLY | O_CLOEXEC)) < 0)
		if (errno != EINTR)
			FAIL("open %s: %s", path, strerror(errno));
	close(fd);
}

/* Says that the state is set up and waits until the harness lets the guest go on. */
static inline void checkpoint(void)
{
	char path[PATH_MAX];
	snprintf(path, sizeof path, "%s/ready", guest_dir);
	if (symlink("ready", path))
		FAIL("symlink %s: %s", path, strerror(errno));
	wait_go();
}

/* This is a restored process: for what a restore is asked to change. */
static inline bool restored(void)
{
	char path[PATH_MAX];
	snprintf(path, sizeof path, "%s/restored", guest_dir);
	return access(path, F_OK) == 0;
}

static inline int pass(void)
{
	guest_verdict("pass");
	return 0;
}

/* Maps memory or fails. */
static inline void *map(size_t len, int prot, int flags, int fd, off_t off)
{
	void *p = mmap(NULL, len, prot, flags, fd, off);
	if (p == MAP_FAILED)
		FAIL("mmap of %zu bytes, flags %#x: %s", len, flags, strerror(errno));
	return p;
}

/* How a child tells its parent that it is set up: a name in the guest's directory, since a pipe or shared memory
 * would be a resource itself, and every later child would inherit it. */
struct latch {
	char path[PATH_MAX];
};
static inline struct latch latch_new(void)
{
	static int count;
	struct latch l;
	snprintf(l.path, sizeof l.path, "%s/latch-%d-%d", guest_dir, (int)getpid(), count++);
	return l;
}
static inline void latch_open(struct latch l) /* in the child */
{
	OK(symlink("open", l.path));
}
static inline void latch_wait(struct latch l) /* in the parent */
{
	while (unlink(l.path))
		if (errno == ENOENT)
			usleep(100);
		else
			FAIL("unlink %s: %s", l.path, strerror(errno));
}

/* Waits for a child and requires that it exited with 0. */
static inline void reap_ok(pid_t pid)
{
	int status;
	EQ(waitpid(pid, &status, 0), pid);
	if (!WIFEXITED(status) || WEXITSTATUS(status))
		FAIL("child %d ended with status %#x", (int)pid, status);
}

/* Fills and checks a pattern that differs from page to page. */
static inline void fill(void *at, size_t len, unsigned seed)
{
	uint32_t *p = at;
	for (size_t i = 0; i < len / 4; i++)
		p[i] = (uint32_t)(i * 2654435761U + seed);
}
static inline void filled(const void *at, size_t len, unsigned seed, const char *what)
{
	const uint32_t *p = at;
	for (size_t i = 0; i < len / 4; i++)
		if (p[i] != (uint32_t)(i * 2654435761U + seed))
			FAIL("%s: word %zu at %p is %#x, expected %#x", what, i, (const void *)(p + i), p[i],
			     (uint32_t)(i * 2654435761U + seed));
}
static inline void zeroed(const void *at, size_t len, const char *what)
{
	const unsigned char *p = at;
	for (size_t i = 0; i < len; i++)
		if (p[i])
			FAIL("%s: byte %zu at %p is %#x, expected 0", what, i, (const void *)(p + i), p[i]);
}

/* Writes the whole of a string to a /proc or /sys file. */
static inline int put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	ssize_t n = write(fd, text, strlen(text));
	int e = errno;
	close(fd);
	errno = e;
	return n < 0 ? -1 : 0;
}

/* The number after "NAME:" in /proc/PID/FILE, in the given base; fails when absent. */
static inline unsigned long long proc_field(pid_t pid, const char *file, const char *name, int base)
{
	char path[128], line[4096];
	snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, file);
	FILE *f = fopen(path, "re");
	if (!f)
		FAIL("open %s: %s", path, strerror(errno));
	size_t n = strlen(name);
	while (fgets(line, sizeof line, f))
		if (!strncmp(line, name, n) && line[n] == ':') {
			unsigned long long v = strtoull(line + n + 1, NULL, base);
			fclose(f);
			return v;
		}
	fclose(f);
	FAIL("%s has no field %s", path, name);
}

/* The line of /proc/self/maps that covers an address, or an empty string. */
static inline const char *maps_line(const void *at)
{
	static char line[4096 + 256];
	FILE *f = fopen("/proc/self/maps", "re");
	if (!f)
		FAIL("open /proc/self/maps: %s", strerror(errno));
	while (fgets(line, sizeof line, f)) {
		unsigned long a, b;
		if (sscanf(line, "%lx-%lx", &a, &b) == 2 && a <= (unsigned long)at && (unsigned long)at < b) {
			line[strcspn(line, "\n")] = 0;
			fclose(f);
			return line;
		}
	}
	fclose(f);
	return "";
}

/* True when the VmFlags of the mapping at that address contain the two-letter flag. */
static inline bool vm_flag(const void *at, const char *flag)
{
	char line[4096 + 256];
	bool in = false, found = false;
	FILE *f = fopen("/proc/self/smaps", "re");
	if (!f)
		FAIL("open /proc/self/smaps: %s", strerror(errno));
	while (fgets(line, sizeof line, f)) {
		unsigned long a, b;
		if (sscanf(line, "%lx-%lx ", &a, &b) == 2)
			in = a <= (unsigned long)at && (unsigned long)at < b;
		else if (in && !strncmp(line, "VmFlags:", 8)) {
			char want[8];
			snprintf(want, sizeof want, " %s", flag);
			found = strstr(line, want) != NULL;
			break;
		}
	}
	fclose(f);
	return found;
}

/* The pagemap word of a page: bit 63 present, 62 swapped, 61 file or shared, 58 guard, 56 mapped once only. */
static inline uint64_t pagemap(const void *at)
{
	uint64_t v = 0;
	int fd = OK(open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC));
	EQ(pread(fd, &v, 8, (off_t)((uintptr_t)at / PAGE * 8)), 8);
	close(fd);
	return v;
}

static inline double now(clockid_t clock)
{
	struct timespec t;
	clock_gettime(clock, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

/* Two descriptors are one open file description (Linux 6.10 F_DUPFD_QUERY, else kcmp(2)). */
static inline bool same_description(int a, int b)
{
	long r = syscall(SYS_kcmp, getpid(), getpid(), 0 /* KCMP_FILE */, a, b);
	if (r < 0)
		FAIL("kcmp of fds %d and %d: %s", a, b, strerror(errno));
	return r == 0;
}
#endif
