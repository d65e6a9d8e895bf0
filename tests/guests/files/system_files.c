/* Files of sysfs, of /proc/sys, general files of /proc, control groups; with offsets and in the middle. */
#include "../files.h"
#include <dirent.h>
int main(void)
{
	static const char *const names[] = {"/proc/meminfo", "/proc/version", "/proc/sys/kernel/pid_max", "/proc/sys/net/ipv4/ip_forward",
					    "/sys/kernel/mm/transparent_hugepage/enabled", "/sys/kernel", "/proc", "/proc/sys", "/sys/class/net/lo/mtu",
					    "/proc/mounts", "/sys/fs/cgroup", "/proc/uptime"};
	enum { N = sizeof names / sizeof *names };
	char one[N][64], two[64];
	int fds[N];
	off_t at[N];
	for (int i = 0; i < N; i++) {
		if ((fds[i] = open(names[i], O_RDONLY)) < 0) {
			CHECK(errno == ENOENT);
			continue;
		}
		if (S_ISDIR(stat_of(fds[i]).st_mode))
			OK(syscall(SYS_getdents64, fds[i], one[i], sizeof one[i]));
		else
			EQ(read(fds[i], one[i], 1), 1);
		at[i] = OK(lseek(fds[i], 0, SEEK_CUR));
	}
	int w = OK(open("/proc/sys/kernel/ostype", O_RDONLY | O_CLOEXEC)), cg = open("/proc/self/cgroup", O_RDONLY);
	checkpoint();
	for (int i = 0; i < N; i++) {
		if (fds[i] < 0)
			continue;
		EQ(lseek(fds[i], 0, SEEK_CUR), at[i]);
		if (!S_ISDIR(stat_of(fds[i]).st_mode)) {
			EQ(pread(fds[i], two, 1, 0), 1);
			if (strcmp(names[i], "/proc/uptime"))
				EQ(two[0], one[i][0]);
		}
	}
	EQ(read(w, two, 6), 6);
	OK(read(cg, two, sizeof two));
	return pass();
}
