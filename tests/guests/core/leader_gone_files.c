/* What kinds keep of a process whose leading thread has ended: its files are another thread's. */
#include "../older.h"
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/shm.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <sys/un.h>
static void *alone(void *unused)
{
	char line[512], path[64], byte;
	do {
		snprintf(path, sizeof path, "/proc/%d/stat", (int)getpid());
		int fd = OK(open(path, O_RDONLY));
		line[OK(read(fd, line, sizeof line - 1))] = 0;
		close(fd);
	} while (strrchr(line, ')')[2] != 'Z');
	struct sockaddr_un name = { AF_UNIX, "bound" };
	int pair[2], pipes[2];
	OK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	EQ(write(pair[0], "x", 1), 1);
	OK(pipe(pipes));
	EQ(write(pipes[1], "y", 1), 1);
	int bound = OK(socket(AF_UNIX, SOCK_STREAM, 0));
	OK(bind(bound, (struct sockaddr *)&name, sizeof name));
	OK(listen(bound, 4));
	int event = OK(eventfd(3, 0)), set = OK(epoll_create1(0)), watch = OK(inotify_init1(0));
	struct epoll_event wanted = { EPOLLIN, { .u64 = 5 } };
	OK(epoll_ctl(set, EPOLL_CTL_ADD, event, &wanted));
	int file = OK(open("locked", O_CREAT | O_RDWR, 0600)), gone = OK(open("gone", O_CREAT | O_RDWR, 0600));
	EQ(write(gone, "ghost", 5), 5);
	OK(inotify_add_watch(watch, "locked", IN_MOVE_SELF));
	OK(unlink("gone"));
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 1, .l_len = 2 };
	OK(fcntl(file, F_SETLK, &lock));
	int memory = OK(memfd_create("m", 0));
	OK(ftruncate(memory, PAGE));
	char *shared = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
	CHECK(shared != MAP_FAILED);
	strcpy(shared, "shared");
	int timer = OK(timerfd_create(CLOCK_MONOTONIC, 0));
	sigset_t usr1;
	sigemptyset(&usr1);
	sigaddset(&usr1, SIGUSR1);
	OK(signalfd(-1, &usr1, 0));
	struct itimerspec in_an_hour = { .it_value = { .tv_sec = 3600 } };
	OK(timerfd_settime(timer, 0, &in_an_hour, NULL));
	checkpoint();
	EQ(read(pair[1], &byte, 1), 1);
	EQ(byte, 'x');
	EQ(read(pipes[0], &byte, 1), 1);
	EQ(byte, 'y');
	int client = OK(socket(AF_UNIX, SOCK_STREAM, 0));
	OK(connect(client, (struct sockaddr *)&name, sizeof name));
	EQ(epoll_wait(set, &wanted, 1, 0), 1);
	EQ(wanted.data.u64, 5);
	EQ(pread(gone, line, 5, 0), 5);
	EQ(memcmp(line, "ghost", 5), 0);
	STR_EQ(shared, "shared");
	pid_t child = OK(fork());
	if (!child) {
		struct flock other = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 1, .l_len = 2 };
		OK(fcntl(file, F_GETLK, &other));
		_exit(other.l_type == F_WRLCK && other.l_pid == getppid() ? 0 : 1);
	}
	reap_ok(child);
	OK(timerfd_gettime(timer, &in_an_hour));
	CHECK(in_an_hour.it_value.tv_sec > 3000);
	OK(unlink("bound"));
	_exit(pass());
	return unused;
}
int main(void)
{
	pthread_t thread;
	if (!pidfd_of_threads())
		SKIP("the kernel does not give the files of each thread");
	EQ(pthread_create(&thread, NULL, alone, NULL), 0);
	syscall(SYS_exit, 0);
	return 1;
}
