/* pidfds of threads that are not the first of their process: an own one, watched by epoll and shared with a child, one of
   the child's, and a nonblocking one. Each tells of the end of its thread alone. */
#include "../guest.h"
#include <pthread.h>
#include <sys/epoll.h>
#define PIDFD_THREAD_ O_EXCL
static int go[2];
static volatile pid_t tid;
static void *other(void *unused)
{
	char byte;
	tid = gettid();
	while (read(go[0], &byte, 1) < 0)
		;
	return unused;
}
static pid_t pid_of(int fd)
{
	char path[32];
	snprintf(path, sizeof path, "fdinfo/%d", fd);
	return (pid_t)proc_field(getpid(), path, "Pid", 10);
}
static pthread_t start(void)
{
	pthread_t thread;
	tid = 0;
	OK(pipe(go));
	EQ(pthread_create(&thread, NULL, other, NULL), 0);
	while (!tid)
		sched_yield();
	return thread;
}
static int readable(int fd, int ms)
{
	struct pollfd p = { fd, POLLIN, 0 };
	return (int)OK(poll(&p, 1, ms));
}
int main(void)
{
	pthread_t thread = start();
	pid_t own = tid;
	int mine = (int)syscall(SYS_pidfd_open, own, PIDFD_THREAD_);
	if (mine < 0)
		SKIP("no pidfds of threads before Linux 6.9: %s", strerror(errno));
	int nonblocking = (int)OK(syscall(SYS_pidfd_open, own, PIDFD_THREAD_ | O_NONBLOCK));
	int set = OK(epoll_create1(0));
	struct epoll_event event = { EPOLLIN, { .u64 = 42 } };
	OK(epoll_ctl(set, EPOLL_CTL_ADD, mine, &event));
	struct { pid_t volatile tid; } *shared = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(shared != MAP_FAILED);
	struct latch l = latch_new(), seen = latch_new();
	pid_t child = OK(fork());
	if (!child) {
		pthread_t below = start();
		shared->tid = tid;
		latch_open(l);
		wait_go();
		EQ(pid_of(mine), own);
		latch_open(seen);
		EQ(readable(mine, 60000), 1);
		EQ(write(go[1], "x", 1), 1);
		EQ(pthread_join(below, NULL), 0);
		pause();
	}
	latch_wait(l);
	int theirs = (int)OK(syscall(SYS_pidfd_open, shared->tid, PIDFD_THREAD_));
	checkpoint();
	EQ(pid_of(mine), own);
	EQ(pid_of(nonblocking), own);
	EQ(pid_of(theirs), shared->tid);
	EQ(fcntl(mine, F_GETFL) & (PIDFD_THREAD_ | O_NONBLOCK), PIDFD_THREAD_);
	EQ(fcntl(nonblocking, F_GETFL) & (PIDFD_THREAD_ | O_NONBLOCK), PIDFD_THREAD_ | O_NONBLOCK);
	EQ(syscall(SYS_kcmp, getpid(), child, 0 /* KCMP_FILE */, mine, mine), 0);
	EQ(readable(mine, 0), 0);
	EQ(readable(theirs, 0), 0);
	EQ(epoll_wait(set, &event, 1, 0), 0);
	latch_wait(seen);
	EQ(write(go[1], "x", 1), 1);
	EQ(pthread_join(thread, NULL), 0);
	EQ(epoll_wait(set, &event, 1, 60000), 1);
	EQ(event.data.u64, 42);
	EQ(readable(nonblocking, 0), 1);
	/* The child's thread ends once it has seen that of ours end. */
	EQ(readable(theirs, 60000), 1);
	OK(kill(child, SIGKILL));
	EQ(waitpid(child, NULL, 0), child);
	return pass();
}
