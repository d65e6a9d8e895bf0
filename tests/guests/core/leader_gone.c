/* Processes whose leading thread has ended while others live on: with two threads left, with children, one of them of the
   same sort; files, memory, signals and timers stay theirs. */
#include "../older.h"
#include <pthread.h>
static char buf[16];
static int ends[2];
static volatile pid_t others[2];
static volatile int ticks;
static struct latch ready;
static __thread int own;
static char state(pid_t pid)
{
	char path[64], text[512];
	snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
	int fd = OK(open(path, O_RDONLY));
	ssize_t n = OK(read(fd, text, sizeof text - 1));
	close(fd);
	text[n] = 0;
	return strrchr(text, ')')[2];
}
static void on_tick(int signal)
{
	(void)signal;
	ticks++;
}
static void *second(void *unused)
{
	own = 2;
	others[1] = gettid();
	/* Until the first writes. */
	while (read(ends[0], buf, 6) < 0)
		;
	EQ(own, 2);
	EQ(gettid(), others[1]);
	return unused;
}
static void left_alone(void)
{
	while (state(getpid()) != 'Z')
		sched_yield();
}
static void *below(void *unused)
{
	left_alone();
	latch_open(ready);
	wait_go();
	EQ(state(getpid()), 'Z');
	_exit(7);
	return unused;
}
static void *first(void *unused)
{
	struct sigaction action = { .sa_handler = on_tick };
	pthread_t thread;
	timer_t timer;
	int status;
	own = 1;
	others[0] = gettid();
	left_alone();
	EQ(pthread_create(&thread, NULL, second, NULL), 0);
	while (!others[1])
		sched_yield();
	ready = latch_new();
	pid_t child = OK(fork());
	if (!child) {
		EQ(pthread_create(&thread, NULL, below, NULL), 0);
		syscall(SYS_exit, 3);
	}
	latch_wait(ready);
	OK(sigaction(SIGALRM, &action, NULL));
	struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGALRM };
	OK(timer_create(CLOCK_MONOTONIC, &event, &timer));
	pid_t process = getpid();
	checkpoint();
	EQ(own, 1);
	EQ(getpid(), process);
	EQ(gettid(), others[0]);
	EQ(state(process), 'Z');
	EQ(raise(SIGALRM), 0);
	EQ(ticks, 1);
	struct itimerspec soon = { .it_value = { .tv_nsec = 1 } };
	OK(timer_settime(timer, 0, &soon, NULL));
	while (ticks < 2)
		usleep(100);
	EQ(write(ends[1], "second", 6), 6);
	EQ(pthread_join(thread, NULL), 0);
	EQ(memcmp(buf, "second", 6), 0);
	EQ(waitpid(child, &status, 0), child);
	EQ(status, 7 << 8);
	_exit(pass());
	return unused;
}
int main(void)
{
	pthread_t thread;
	if (!pidfd_of_threads())
		SKIP("the kernel does not give the files of each thread");
	OK(pipe(ends));
	EQ(pthread_create(&thread, NULL, first, NULL), 0);
	syscall(SYS_exit, 5);
	return 1;
}
