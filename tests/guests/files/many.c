/* Two thousand descriptors of one file and of many, in a table that is shared by numbers. */
#include "../guest.h"
#define N 2000
int main(void)
{
	static int fd[N];
	char name[32];
	struct rlimit r = { N + 100, N + 100 };
	OK(setrlimit(RLIMIT_NOFILE, &r));
	for (int i = 0; i < N; i++) {
		snprintf(name, sizeof name, "f%d", i % 50);
		fd[i] = OK(open(name, O_CREAT | O_RDWR, 0600));
		EQ(lseek(fd[i], i, SEEK_SET), i);
	}
	checkpoint();
	for (int i = 0; i < N; i++)
		EQ(lseek(fd[i], 0, SEEK_CUR), i);
	EQ(open("f0", O_RDONLY), fd[N - 1] + 1);
	return pass();
}
