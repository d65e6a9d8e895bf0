/* What guests in motion share: they work while they are dumped and restored, over and over, until the harness lets
 * them go, and then check that nothing of their work is lost.
 *
 * "progress" is a file in the guest's directory with one counter, which the harness reads: it dumps the guest again
 * once that has moved on.
 */
#ifndef MOTION_H
#define MOTION_H
#include "guest.h"

static volatile uint64_t *motion_steps;

/* Before anything else, and before the first fork. */
static inline void motion_begin(void)
{
	char path[PATH_MAX];
	snprintf(path, sizeof path, "%s/progress", guest_dir);
	int fd = OK(open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666));
	OK(ftruncate(fd, PAGE));
	motion_steps = map(PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
}

/* A piece of work is done. */
static inline void step(void)
{
	__atomic_fetch_add(motion_steps, 1, __ATOMIC_RELAXED);
}

/* The guest is in motion: the harness may begin. */
static inline void in_motion(void)
{
	char path[PATH_MAX];
	snprintf(path, sizeof path, "%s/ready", guest_dir);
	OK(symlink("ready", path));
}

/* The harness has not let the guest go yet. Nobody but the harness opens the FIFO for reading. */
static inline bool still_moving(void)
{
	char path[PATH_MAX];
	snprintf(path, sizeof path, "%s/go", guest_dir);
	int fd = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
	if (fd >= 0) {
		close(fd);
		return false;
	}
	if (errno != ENXIO)
		FAIL("open %s: %s", path, strerror(errno));
	return true;
}

/* The same, or this thread has not had its turn, however late it comes to it. */
static inline bool moving(void)
{
	static _Thread_local bool has_moved;
	if (!has_moved)
		return has_moved = true;
	return still_moving();
}

/* Numbers that look random, the same for the same seed. */
static inline uint32_t next_random(uint32_t *state)
{
	uint32_t x = *state;
	x ^= x << 13;
	x ^= x >> 17;
	x ^= x << 5;
	return *state = x;
}

/* Byte number `at` of a stream. */
static inline unsigned char stream_byte(uint64_t at)
{
	return (unsigned char)(at * 2654435761U >> 13 ^ at);
}
static inline void stream_fill(unsigned char *to, uint64_t at, size_t len)
{
	for (size_t i = 0; i < len; i++)
		to[i] = stream_byte(at + i);
}
static inline void stream_check(const unsigned char *got, uint64_t at, size_t len, const char *what)
{
	for (size_t i = 0; i < len; i++)
		if (got[i] != stream_byte(at + i))
			FAIL("%s: byte %llu is %#x, expected %#x", what, (unsigned long long)(at + i), got[i],
			     stream_byte(at + i));
}

/* Writes a stream in pieces of many sizes until the motion ends, then closes; how many bytes were written. */
static inline uint64_t stream_send(int fd, uint32_t seed, size_t most)
{
	unsigned char *piece = malloc(most);
	uint64_t sent = 0;
	CHECK(piece);
	while (moving()) {
		size_t len = next_random(&seed) % most + 1, done = 0;
		stream_fill(piece, sent, len);
		while (done < len) {
			ssize_t n = write(fd, piece + done, len - done);
			if (n < 0 && errno == EINTR)
				continue;
			if (n < 0)
				FAIL("write to fd %d after %llu bytes: %s", fd, (unsigned long long)sent, strerror(errno));
			done += n;
		}
		sent += len;
		step();
	}
	close(fd);
	free(piece);
	return sent;
}

/* Reads a stream to its end and checks it; how many bytes came. */
static inline uint64_t stream_receive(int fd, uint32_t seed, size_t most, const char *what)
{
	unsigned char *piece = malloc(most);
	uint64_t got = 0;
	CHECK(piece);
	for (;;) {
		ssize_t n = read(fd, piece, next_random(&seed) % most + 1);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			FAIL("%s: read after %llu bytes: %s", what, (unsigned long long)got, strerror(errno));
		if (!n)
			break;
		stream_check(piece, got, n, what);
		got += n;
		step();
	}
	close(fd);
	free(piece);
	return got;
}

/* A child that runs these statements and exits with 0. */
#define CHILD(...)                                                                                                  \
	({                                                                                                          \
		pid_t child_ = OK(fork());                                                                          \
		if (!child_) {                                                                                      \
			__VA_ARGS__;                                                                                \
			_exit(0);                                                                                   \
		}                                                                                                   \
		child_;                                                                                             \
	})
#endif
