/* The status flags of open files, those set later by fcntl too; close-on-exec belongs to the number. */
#include "../guest.h"
static const int flags[] = { O_APPEND, O_NONBLOCK, O_SYNC, O_DSYNC, O_NOATIME, O_APPEND | O_NONBLOCK, O_NOFOLLOW };
#define N (int)(sizeof flags / sizeof *flags)
int main(void)
{
	int fd[N], seen[N];
	close(OK(open("f", O_CREAT | O_RDWR, 0600)));
	for (int i = 0; i < N; i++) {
		fd[i] = OK(open("f", O_RDWR | flags[i] | (i % 2 ? O_CLOEXEC : 0)));
		seen[i] = OK(fcntl(fd[i], F_GETFL));
		CHECK((seen[i] & flags[i] & ~O_NOFOLLOW) == (flags[i] & ~O_NOFOLLOW));
	}
	int later = OK(open("f", O_RDWR));
	OK(fcntl(later, F_SETFL, O_APPEND | O_NOATIME));
	int twin = OK(fcntl(later, F_DUPFD_CLOEXEC, 90));
	int direct = open("f", O_RDWR | O_DIRECT);
	checkpoint();
	for (int i = 0; i < N; i++) {
		EQ(fcntl(fd[i], F_GETFL), seen[i]);
		EQ(fcntl(fd[i], F_GETFD), i % 2 ? FD_CLOEXEC : 0);
	}
	CHECK((fcntl(later, F_GETFL) & (O_APPEND | O_NOATIME)) == (O_APPEND | O_NOATIME));
	EQ(fcntl(later, F_GETFD), 0);
	EQ(fcntl(twin, F_GETFD), FD_CLOEXEC);
	if (direct >= 0)
		CHECK(fcntl(direct, F_GETFL) & O_DIRECT);
	EQ(lseek(later, 0, SEEK_SET), 0);
	EQ(write(later, "end", 3), 3);
	EQ(lseek(later, 0, SEEK_CUR), 3);
	EQ(lseek(later, 0, SEEK_SET), 0);
	EQ(write(later, "END", 3), 3); /* appended, whatever the offset */
	EQ(lseek(later, 0, SEEK_CUR), 6);
	return pass();
}
