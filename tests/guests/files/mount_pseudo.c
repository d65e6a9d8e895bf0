/* Files of pseudo file systems that are mounted for the occasion: debugfs, tracefs, a proc and a sysfs of its own, bpf,
 * mqueue, a control group hierarchy. */
#include "../files.h"
#include <sys/mount.h>
int main(void)
{
	static const char *const kinds[][2] = {{"debugfs", "sleep_time"}, {"tracefs", "README"}, {"proc", "version"}, {"sysfs", "kernel/notes"},
					       {"securityfs", ""}, {"cgroup2", "cgroup.procs"}, {"devpts", "ptmx"}, {"ramfs", ""}};
	enum { N = sizeof kinds / sizeof *kinds };
	char path[64], one[N], byte;
	int dirs[N], files[N];
	for (int i = 0; i < N; i++) {
		dirs[i] = files[i] = -1;
		OK(mkdir(kinds[i][0], 0755));
		if (mount("none", kinds[i][0], kinds[i][0], 0, NULL))
			continue;
		dirs[i] = OK(open(kinds[i][0], O_RDONLY | O_DIRECTORY));
		snprintf(path, sizeof path, "%s/%s", kinds[i][0], kinds[i][1]);
		files[i] = open(path, i == 6 ? O_PATH : O_RDONLY);
		if (files[i] >= 0 && S_ISREG(stat_of(files[i]).st_mode) && read(files[i], one + i, 1) < 1) {
			close(files[i]);
			files[i] = -1;
		}
	}
	CHECK(dirs[2] >= 0);
	checkpoint();
	for (int i = 0; i < N; i++) {
		if (dirs[i] < 0)
			continue;
		is_at(dirs[i], kinds[i][0]);
		if (files[i] >= 0 && S_ISREG(stat_of(files[i]).st_mode)) {
			EQ(lseek(files[i], 0, SEEK_CUR), 1);
			EQ(pread(files[i], &byte, 1, 0), 1);
			EQ(byte, one[i]);
		}
		close(files[i]);
		close(dirs[i]);
		OK(umount(kinds[i][0]));
	}
	return pass();
}
