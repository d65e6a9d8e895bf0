/* The program of a process was deleted. */
#include "../files.h"
int main(int argc, char **argv)
{
	char link[PATH_MAX] = "", buf[65536];
	if (argc == 1) {
		int from = OK(open("/proc/self/exe", O_RDONLY)), to = OK(open("copy", O_CREAT | O_WRONLY, 0755));
		for (ssize_t n; (n = OK(read(from, buf, sizeof buf))) > 0;)
			EQ(write(to, buf, n), n);
		close(from), close(to);
		OK(execl("./copy", "copy", "again", NULL));
	}
	OK(unlink("copy"));
	(void)argv;
	checkpoint();
	OK(readlink("/proc/self/exe", link, sizeof link - 1));
	CHECK(strstr(link, "/copy (deleted)"));
	int exe = OK(open("/proc/self/exe", O_RDONLY));
	EQ(stat_of(exe).st_nlink, 0);
	EQ(stat_of(exe).st_mode, S_IFREG | 0755);
	ERR(access("copy", F_OK), ENOENT);
	return pass();
}
