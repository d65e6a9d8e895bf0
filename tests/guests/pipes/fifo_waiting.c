/* Processes that wait: in open(2) for the other side of a FIFO, in read(2) of one, in poll(2). */
#include "../guest.h"
#include <sys/stat.h>
static void until_asleep(pid_t pid)
{
	char path[64], text[256] = "";
	do {
		snprintf(path, sizeof path, "/proc/%d/stat", pid);
		int fd = OK(open(path, O_RDONLY));
		OK(read(fd, text, sizeof text - 1));
		close(fd);
	} while (strrchr(text, ')')[2] != 'S');
}
int main(void)
{
	pid_t kids[4];
	char byte;
	OK(mkfifo("r", 0600)), OK(mkfifo("w", 0600)), OK(mkfifo("data", 0600)), OK(mkfifo("polled", 0600));
	int data = OK(open("data", O_RDWR)), polled = OK(open("polled", O_RDWR));
	for (int i = 0; i < 4; i++) {
		if ((kids[i] = OK(fork())))
			continue;
		if (i < 2) {
			int fd;
			while ((fd = open(i ? "w" : "r", i ? O_WRONLY : O_RDONLY)) < 0)
				if (errno != EINTR)
					FAIL("errno %d", errno);
			EQ(i ? write(fd, "w", 1) : read(fd, &byte, 1), 1);
		} else if (i == 2)
			EQ(read(data, &byte, 1), 1);
		else {
			struct pollfd p = {polled, POLLIN, 0};
			while (poll(&p, 1, -1) < 0)
				if (errno != EINTR)
					FAIL("errno %d", errno);
			EQ(p.revents, POLLIN);
		}
		_exit(0);
	}
	for (int i = 0; i < 4; i++)
		until_asleep(kids[i]);
	checkpoint();
	for (int i = 0; i < 4; i++)
		EQ(waitpid(kids[i], NULL, WNOHANG), 0);
	int r = OK(open("r", O_WRONLY)), w = OK(open("w", O_RDONLY));
	EQ(write(r, "r", 1), 1);
	EQ(read(w, &byte, 1), 1);
	EQ(write(data, "d", 1), 1);
	EQ(write(polled, "p", 1), 1);
	for (int i = 0; i < 4; i++)
		reap_ok(kids[i]);
	return pass();
}
