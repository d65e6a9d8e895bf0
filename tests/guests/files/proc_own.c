/* Directories and files of /proc that are the process's own, by number and as "self", with their offsets. */
#include "../files.h"
#include <dirent.h>
#define N 12
int main(void)
{
	static const char *const names[N] = {"", "fd", "fdinfo", "task", "ns", "attr", "net", "map_files", "maps", "status", "stat", "limits"};
	char path[128], part[64] = "";
	int fds[N];
	for (int i = 0; i < N; i++) {
		snprintf(path, sizeof path, i % 2 ? "/proc/self/%s" : "/proc/%2$d/%1$s", names[i], getpid());
		fds[i] = OK(open(path, O_RDONLY));
	}
	int status = OK(open("/proc/self/status", O_RDONLY | O_NONBLOCK)), link = OK(open("/proc/self/fd/0", O_PATH | O_NOFOLLOW)),
	    cwd = OK(open("/proc/self/cwd", O_RDONLY)), root = OK(open("/proc/self/root", O_PATH)),
	    exe = OK(open("/proc/self/exe", O_RDONLY)), mem = OK(open("/proc/self/mem", O_RDWR));
	EQ(read(status, part, 10), 10);
	EQ(lseek(mem, (off_t)(uintptr_t)fds, SEEK_SET), (off_t)(uintptr_t)fds);
	checkpoint();
	for (int i = 0; i < N; i++) {
		snprintf(path, sizeof path, "/proc/%d/%s", getpid(), names[i]);
		if (!names[i][0])
			path[strlen(path) - 1] = 0;
		if (strcmp(names[i], "net"))
			STR_EQ(link_of(fds[i]), path);
	}
	OK(readlinkat(fds[1], "0", part, sizeof part));
	snprintf(path, sizeof path, "%d", fds[1]);
	OK(faccessat(fds[1], path, F_OK, AT_SYMLINK_NOFOLLOW));
	EQ(lseek(status, 0, SEEK_CUR), 10);
	EQ(read(status, part, 5), 5);
	CHECK(S_ISLNK(stat_of(link).st_mode));
	is_at(cwd, guest_dir);
	is_at(root, "/");
	CHECK(stat_of(exe).st_size > 1000);
	int got[N];
	EQ(read(mem, got, sizeof got), sizeof got);
	CHECK(!memcmp(got, fds, sizeof got));
	return pass();
}
