/* /dev/kmsg, which the example plugin serves: two descriptors of one file, one at the end of the log. */
#include "../guest.h"
int main(void)
{
	char line[8192];
	int log = open("/dev/kmsg", O_RDWR | O_NONBLOCK);
	if (log < 0)
		SKIP("/dev/kmsg cannot be opened: %s", strerror(errno));
	OK(lseek(log, 0, SEEK_END));
	int same = OK(dup(log));
	OK(fcntl(same, F_SETFD, FD_CLOEXEC));
	int writer = OK(open("/dev/kmsg", O_WRONLY | O_APPEND));
	checkpoint();
	struct stat st;
	int all[] = { log, same, writer };
	for (int i = 0; i < 3; i++) {
		OK(fstat(all[i], &st));
		CHECK(S_ISCHR(st.st_mode));
		EQ(st.st_rdev, 0x10b);
	}
	EQ(fcntl(log, F_GETFL) & (O_ACCMODE | O_NONBLOCK), O_RDWR | O_NONBLOCK);
	EQ(fcntl(writer, F_GETFL) & (O_ACCMODE | O_APPEND), O_WRONLY | O_APPEND);
	EQ(fcntl(same, F_GETFD), FD_CLOEXEC);
	EQ(fcntl(log, F_GETFD), 0);
	/* One description still: what one descriptor says of its flags, the other shows. */
	OK(fcntl(same, F_SETFL, 0));
	EQ(fcntl(log, F_GETFL) & O_NONBLOCK, 0);
	OK(fcntl(same, F_SETFL, O_NONBLOCK));
	/* What is written by one is read by the other. */
	char mark[64];
	int len = snprintf(mark, sizeof mark, "criu test guest %d\n", getpid());
	EQ(write(writer, mark, len), len);
	for (;;) {
		ssize_t n = read(log, line, sizeof line - 1);
		if (n < 0 && errno == EPIPE)
			continue; /* lines were overwritten meanwhile */
		CHECK(n > 0);
		line[n] = 0;
		mark[len - 1] = 0;
		if (strstr(line, mark))
			return pass();
	}
}
