/* Threads that wait in many calls wait on after the checkpoint, and get what they waited for. */
#include "../guest.h"
#include <linux/futex.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/timerfd.h>

static volatile int entered;
static int pipe_full[2], pipe_empty[2], pipe_spliced[2], pipe_to[2];
static int pair[2], listener, event, locked;
static uint32_t pi_word;
static pid_t child;
static struct timespec deadline;

static void enter(void)
{
	__atomic_add_fetch(&entered, 1, __ATOMIC_SEQ_CST);
}

static void on_write(void)
{
	char page[PAGE];
	memset(page, 'w', sizeof page);
	enter();
	EQ(write(pipe_full[1], page, sizeof page), sizeof page);
}

static void on_splice(void)
{
	enter();
	EQ(splice(pipe_spliced[0], NULL, pipe_to[1], NULL, 1, 0), 1);
}

static void on_poll(void)
{
	struct pollfd fd = {.fd = pipe_empty[0], .events = POLLIN};
	enter();
	EQ(poll(&fd, 1, -1), 1);
	EQ(fd.revents, POLLIN);
}

static void on_select(void)
{
	fd_set set;
	FD_ZERO(&set);
	FD_SET(pipe_empty[0], &set);
	enter();
	EQ(select(pipe_empty[0] + 1, &set, NULL, NULL, NULL), 1);
}

static void on_receive(void)
{
	char c = 0;
	enter();
	EQ(recv(pair[0], &c, 1, MSG_WAITALL), 1);
	EQ(c, 'm');
}

static void on_accept(void)
{
	enter();
	close(OK(accept(listener, NULL, NULL)));
}

static void on_event(void)
{
	uint64_t count;
	enter();
	EQ(read(event, &count, 8), 8);
	EQ(count, 3);
}

static void on_sleep(void)
{
	enter();
	EQ(clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &deadline, NULL), 0);
	struct timespec now;
	OK(clock_gettime(CLOCK_MONOTONIC, &now));
	CHECK(now.tv_sec > deadline.tv_sec || (now.tv_sec == deadline.tv_sec && now.tv_nsec >= deadline.tv_nsec));
}

static void on_flock(void)
{
	int fd = OK(open("flock", O_RDWR));
	enter();
	OK(flock(fd, LOCK_EX));
	close(fd);
}

static void on_pi(void)
{
	enter();
	OK(syscall(SYS_futex, &pi_word, FUTEX_LOCK_PI_PRIVATE, 0, NULL, NULL, 0));
	EQ(pi_word & FUTEX_TID_MASK, gettid());
	OK(syscall(SYS_futex, &pi_word, FUTEX_UNLOCK_PI_PRIVATE, 0, NULL, NULL, 0));
}

static void on_fifo(void)
{
	char c;
	enter();
	int fd = OK(open("fifo", O_RDONLY));
	EQ(read(fd, &c, 1), 1);
	EQ(c, 'f');
	close(fd);
}

static void on_child(void)
{
	siginfo_t info = {};
	enter();
	OK(waitid(P_PID, (id_t)child, &info, WEXITED | WSTOPPED));
	EQ(info.si_pid, child);
	EQ(info.si_status, 5);
}

static void on_signal_wait(void)
{
	sigset_t set;
	siginfo_t info;
	struct timespec long_time = {.tv_sec = 1000};
	sigemptyset(&set);
	sigaddset(&set, SIGRTMIN + 3);
	enter();
	/* The kernel ends it with EINTR at any stop. */
	int got;
	do
		got = sigtimedwait(&set, &info, &long_time);
	while (got == -1 && errno == EINTR);
	EQ(got, SIGRTMIN + 3);
	EQ(info.si_value.sival_int, 77);
}

static void (*const calls[])(void) = {
	on_write, on_splice, on_poll, on_select, on_receive, on_accept,	    on_event,
	on_sleep, on_flock,  on_pi,   on_fifo,	 on_child,   on_signal_wait,
};
enum { CALLS = sizeof calls / sizeof *calls };
static pid_t tids[CALLS];

static void *run(void *at)
{
	int which = (int)(intptr_t)at;
	tids[which] = gettid();
	calls[which]();
	return NULL;
}

int main(void)
{
	char page[PAGE];
	OK(pipe(pipe_full));
	OK(pipe(pipe_empty));
	OK(pipe(pipe_spliced));
	OK(pipe(pipe_to));
	OK(fcntl(pipe_full[1], F_SETPIPE_SZ, PAGE));
	memset(page, 'x', sizeof page);
	EQ(write(pipe_full[1], page, sizeof page), sizeof page);
	OK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	struct sockaddr_un {
		sa_family_t family;
		char path[20];
	} name = {AF_UNIX, "listener"};
	listener = OK(socket(AF_UNIX, SOCK_STREAM, 0));
	OK(bind(listener, (void *)&name, sizeof name));
	OK(listen(listener, 1));
	event = OK(eventfd(0, 0));
	OK(mkfifo("fifo", 0600));
	locked = OK(open("flock", O_RDWR | O_CREAT, 0600));
	OK(flock(locked, LOCK_EX));
	EQ(syscall(SYS_futex, &pi_word, FUTEX_LOCK_PI_PRIVATE, 0, NULL, NULL, 0), 0);
	OK(clock_gettime(CLOCK_MONOTONIC, &deadline));
	deadline.tv_sec += 2;
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGRTMIN + 3);
	OK(sigprocmask(SIG_BLOCK, &set, NULL));
	child = OK(fork());
	if (!child) {
		wait_go();
		_exit(5);
	}
	pthread_t threads[CALLS];
	for (intptr_t i = 0; i < CALLS; i++)
		EQ(pthread_create(&threads[i], NULL, run, (void *)i), 0);
	while (entered < CALLS)
		sched_yield();
	for (int i = 0; i < CALLS; i++)
		while (!thread_sleeps(tids[i]) && calls[i] != on_sleep)
			sched_yield();
	checkpoint();
	EQ(read(pipe_full[0], page, sizeof page), sizeof page);
	EQ(page[0], 'x');
	EQ(write(pipe_spliced[1], "s", 1), 1);
	EQ(write(pipe_empty[1], "e", 1), 1);
	EQ(send(pair[1], "m", 1, 0), 1);
	int client = OK(socket(AF_UNIX, SOCK_STREAM, 0));
	OK(connect(client, (void *)&name, sizeof name));
	EQ(write(event, &(uint64_t){3}, 8), 8);
	OK(flock(locked, LOCK_UN));
	OK(syscall(SYS_futex, &pi_word, FUTEX_UNLOCK_PI_PRIVATE, 0, NULL, NULL, 0));
	int fifo = OK(open("fifo", O_WRONLY));
	EQ(write(fifo, "f", 1), 1);
	union sigval value = {.sival_int = 77};
	EQ(pthread_sigqueue(threads[CALLS - 1], SIGRTMIN + 3, value), 0);
	for (int i = 0; i < CALLS; i++)
		EQ(pthread_join(threads[i], NULL), 0);
	EQ(read(pipe_full[0], page, sizeof page), sizeof page);
	EQ(page[0], 'w');
	EQ(read(pipe_to[0], page, 1), 1);
	return pass();
}
