/* What a deleted file keeps beside its content: all bits of its mode, owner, times, size, also of an empty one. */
#include "../files.h"
#define N 5
int main(void)
{
	static const mode_t modes[N] = {0, 04755, 02711, 01777, 0444};
	int fds[N];
	char name[16];
	for (int i = 0; i < N; i++) {
		snprintf(name, sizeof name, "f%d", i);
		fds[i] = OK(open(name, O_CREAT | O_RDWR, 0600));
		OK(ftruncate(fds[i], i * 1000003));
		OK(fchown(fds[i], 70000 + i, 80000 + i));
		OK(fchmod(fds[i], modes[i]));
		struct timespec t[2] = {{1 + i, 5000}, {1700000000 + i, 123456000}};
		OK(futimens(fds[i], t));
		OK(unlink(name));
	}
	OK(mkdir("d", 0));
	int d = OK(open("d", O_RDONLY | O_DIRECTORY));
	OK(fchown(d, 7, 8));
	OK(fchmod(d, 03751));
	OK(rmdir("d"));
	checkpoint();
	for (int i = 0; i < N; i++) {
		struct stat st = stat_of(fds[i]);
		EQ(st.st_mode, S_IFREG | modes[i]);
		EQ(st.st_uid, 70000 + i);
		EQ(st.st_gid, 80000 + i);
		EQ(st.st_size, i * 1000003);
		EQ(st.st_nlink, 0);
		EQ(st.st_atim.tv_sec, 1 + i);
		EQ(st.st_atim.tv_nsec, 5000);
		EQ(st.st_mtim.tv_sec, 1700000000 + i);
		EQ(st.st_mtim.tv_nsec, 123456000);
	}
	struct stat st = stat_of(d);
	EQ(st.st_mode, S_IFDIR | 03751);
	EQ(st.st_uid, 7);
	EQ(st.st_gid, 8);
	return pass();
}
