/* A deleted file with times before 1970. */
#include "../files.h"
int main(void)
{
	int fd = made("old", O_RDWR, 0600, "x");
	struct timespec t[2] = {{-86400, 250000000}, {-1, 500000000}};
	OK(futimens(fd, t));
	if (stat_of(fd).st_mtim.tv_sec != -1)
		SKIP("this filesystem has no times before 1970");
	OK(unlink("old"));
	checkpoint();
	EQ(stat_of(fd).st_atim.tv_sec, -86400);
	EQ(stat_of(fd).st_atim.tv_nsec, 250000000);
	EQ(stat_of(fd).st_mtim.tv_sec, -1);
	EQ(stat_of(fd).st_mtim.tv_nsec, 500000000);
	return pass();
}
