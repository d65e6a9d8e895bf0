/* Segments, memory files and shared anonymous memory side by side: their contents do not mix, whatever their numbers. */
#include "../shm.h"
int main(void)
{
	enum { N = 8 };
	char *seg[N], *anon[N], *file[N];
	for (int i = 0; i < N; i++) {
		anon[i] = map(PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
		int fd = OK(memfd_create("beside", 0));
		OK(ftruncate(fd, PAGE));
		file[i] = map(PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		struct stat st;
		OK(fstat(fd, &st));
		/* The next segment has the number of the memory file's inode, where the kernel lets it. */
		char number[32];
		snprintf(number, sizeof number, "%u", (unsigned)st.st_ino);
		if (st.st_ino < INT_MAX)
			put("/proc/sys/kernel/shm_next_id", number);
		int id = OK(shmget(IPC_PRIVATE, PAGE, 0600));
		seg[i] = attach(id, NULL, 0);
		OK(shmctl(id, IPC_RMID, NULL));
		sprintf(anon[i], "anonymous %d", i);
		sprintf(file[i], "file %d", i);
		sprintf(seg[i], "segment %d", i);
	}
	checkpoint();
	for (int i = 0; i < N; i++) {
		char want[32];
		sprintf(want, "anonymous %d", i);
		STR_EQ(anon[i], want);
		sprintf(want, "file %d", i);
		STR_EQ(file[i], want);
		sprintf(want, "segment %d", i);
		STR_EQ(seg[i], want);
	}
	return pass();
}
