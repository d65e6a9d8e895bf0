/* Before Linux 6.9 nobody can have the files of a process whose leading thread has ended: refused by name. */
#include "../older.h"
#include <pthread.h>
static void *alone(void *unused)
{
	char path[64], text[512];
	do {
		snprintf(path, sizeof path, "/proc/%d/stat", (int)getpid());
		int fd = OK(open(path, O_RDONLY));
		text[OK(read(fd, text, sizeof text - 1))] = 0;
		close(fd);
	} while (strrchr(text, ')')[2] != 'Z');
	checkpoint();
	_exit(pass());
	return unused;
}
int main(void)
{
	pthread_t thread;
	if (pidfd_of_threads())
		SKIP("the kernel gives the files of each thread");
	EQ(pthread_create(&thread, NULL, alone, NULL), 0);
	syscall(SYS_exit, 0);
	return 1;
}
