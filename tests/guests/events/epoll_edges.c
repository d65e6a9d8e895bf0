/* Edges that were reported are not reported again, of targets of several kinds that are still ready; new ones are, and so
 * is what others report. */
#include "../guest.h"
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
enum { COUNTER, PIPE, ROOM, STREAM, DGRAM, TIMER, MOVED, SILENT, EDGES, LEVEL = EDGES, ONCE, COUNT };
static unsigned events(int e)
{
	struct epoll_event got[COUNT];
	unsigned seen = 0;
	for (int n = OK(epoll_wait(e, got, COUNT, 0)); n--;)
		seen |= 1U << got[n].data.u32;
	return seen;
}
static void add(int e, int fd, unsigned how, unsigned data)
{
	struct epoll_event x = { how, { .u32 = data } };
	OK(epoll_ctl(e, EPOLL_CTL_ADD, fd, &x));
}
int main(void)
{
	int e = OK(epoll_create1(0)), busy = OK(epoll_create1(0)), fd[COUNT], p[2], stream[2], dgram[2];
	struct itimerspec it = { { 0, 0 }, { 0, 1 } };
	fd[COUNTER] = OK(eventfd(5, EFD_NONBLOCK));
	OK(pipe(p));
	fd[PIPE] = p[0];
	fd[ROOM] = p[1];
	OK(socketpair(AF_UNIX, SOCK_STREAM, 0, stream));
	fd[STREAM] = stream[0];
	OK(socketpair(AF_UNIX, SOCK_DGRAM, 0, dgram));
	fd[DGRAM] = dgram[0];
	fd[TIMER] = OK(timerfd_create(CLOCK_MONOTONIC, 0));
	fd[MOVED] = OK(eventfd(1, 0));
	fd[SILENT] = OK(eventfd(0, 0));
	fd[LEVEL] = OK(eventfd(0, 0));
	fd[ONCE] = OK(eventfd(0, 0));
	EQ(write(p[1], "x", 1), 1);
	EQ(write(stream[1], "x", 1), 1);
	EQ(write(dgram[1], "x", 1), 1);
	OK(timerfd_settime(fd[TIMER], 0, &it, NULL));
	struct pollfd expired = { fd[TIMER], POLLIN, 0 };
	EQ(poll(&expired, 1, 10000), 1);
	for (int i = 0; i < EDGES; i++)
		add(e, fd[i], (i == PIPE ? EPOLLIN : EPOLLIN | EPOLLOUT | EPOLLRDHUP) | EPOLLET, i);
	add(e, fd[LEVEL], EPOLLIN, LEVEL);
	add(e, fd[ONCE], EPOLLIN | EPOLLET | EPOLLONESHOT, ONCE);
	/* The counter that is not silent any more is known to the set by a number that was closed. */
	int moved = OK(dup(fd[MOVED]));
	close(fd[MOVED]);
	EQ(events(e), (1U << EDGES) - 1);
	EQ(events(e), 0);
	/* A set that still has something to report: of what is not known, so all of it is. */
	add(busy, fd[COUNTER], EPOLLIN | EPOLLET, 0);
	add(busy, p[1], EPOLLOUT, 1);
	checkpoint();
	EQ(events(e), 0);
	CHECK(events(busy) & 2);
	uint64_t one = 1;
	EQ(write(fd[COUNTER], &one, 8), 8);
	EQ(write(p[1], "y", 1), 1);
	EQ(write(stream[1], "y", 1), 1);
	EQ(write(dgram[1], "y", 1), 1);
	EQ(write(moved, &one, 8), 8);
	EQ(write(fd[SILENT], &one, 8), 8);
	EQ(write(fd[LEVEL], &one, 8), 8);
	EQ(write(fd[ONCE], &one, 8), 8);
	unsigned all = 1U << COUNTER | 1U << PIPE | 1U << STREAM | 1U << DGRAM | 1U << MOVED | 1U << SILENT | 1U << LEVEL | 1U << ONCE;
	EQ(events(e) & ~(1U << ROOM), all);
	EQ(events(e), 1U << LEVEL);
	char two[2];
	EQ(read(p[0], two, 2), 2);
	return pass();
}
