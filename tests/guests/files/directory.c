/* Directories: position among the entries, *at() calls, fchdir. */
#include "../guest.h"
#include <dirent.h>
int main(void)
{
	char name[32], before[4][256], after[4][256];
	OK(mkdir("d", 0755));
	for (int i = 0; i < 4; i++) {
		snprintf(name, sizeof name, "d/entry-%d", i);
		close(OK(open(name, O_CREAT | O_RDWR, 0600)));
	}
	int d = OK(open("d", O_RDONLY | O_DIRECTORY));
	struct { uint64_t ino; int64_t off; uint16_t len; uint8_t type; char name[]; } *e;
	char buf[48]; /* holds one entry at a time */
	int n = 0;
	for (; n < 3; n++) {
		OK(syscall(SYS_getdents64, d, buf, sizeof buf));
		e = (void *)buf;
		strcpy(before[n], e->name);
	}
	off_t at = lseek(d, 0, SEEK_CUR);
	checkpoint();
	EQ(lseek(d, 0, SEEK_CUR), at);
	int left = 0;
	while (OK(syscall(SYS_getdents64, d, buf, sizeof buf)) > 0) {
		e = (void *)buf;
		for (int i = 0; i < n; i++)
			CHECK(strcmp(before[i], e->name));
		CHECK(left < 4);
		strcpy(after[left++], e->name);
	}
	EQ(left, 3); /* four files, ".", ".." */
	int f = OK(openat(d, "entry-2", O_RDONLY));
	close(f);
	OK(fchdir(d));
	OK(access("entry-0", F_OK));
	return pass();
}
