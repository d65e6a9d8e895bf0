/* Files of the namespaces that the process lives in, of each kind; they can be compared and entered. */
#include "../files.h"
int main(void)
{
	static const char *const kinds[] = {"net", "uts", "ipc", "mnt", "pid", "user", "cgroup", "time", "pid_for_children", "time_for_children"};
	enum { N = sizeof kinds / sizeof *kinds };
	char path[64];
	struct stat before[N];
	int fds[N];
	for (int i = 0; i < N; i++) {
		snprintf(path, sizeof path, "/proc/self/ns/%s", kinds[i]);
		if ((fds[i] = open(path, O_RDONLY | (i % 2 ? O_CLOEXEC : 0))) < 0)
			continue;
		before[i] = stat_of(fds[i]);
	}
	int twin = OK(dup(fds[0]));
	checkpoint();
	for (int i = 0; i < N; i++) {
		if (fds[i] < 0)
			continue;
		same_inode(stat_of(fds[i]), before[i]);
		EQ(fcntl(fds[i], F_GETFD), i % 2 ? FD_CLOEXEC : 0);
		if (!strcmp(kinds[i], "uts"))
			OK(setns(fds[i], CLONE_NEWUTS));
	}
	CHECK(same_description(twin, fds[0]));
	EQ(ioctl(fds[0], 0xb703 /* NS_GET_NSTYPE */), CLONE_NEWNET);
	return pass();
}
