/* A directory of a thousand entries, half read: the other half follows, none twice, none left out. */
#include "../files.h"
#include <dirent.h>
#define N 1000
int main(void)
{
	static char seen[N];
	char name[64], buf[4096];
	OK(mkdir("d", 0755));
	for (int i = 0; i < N; i++) {
		snprintf(name, sizeof name, "d/entry-with-a-rather-long-name-%d", i);
		close(OK(open(name, O_CREAT | O_WRONLY, 0600)));
	}
	int d = OK(open("d", O_RDONLY | O_DIRECTORY)), end = OK(open("d", O_RDONLY | O_DIRECTORY)), count = 0;
	struct entry { uint64_t ino; int64_t off; uint16_t len; uint8_t type; char name[]; };
	for (int half = 0;; half++) {
		if (half == 5) {
			while (OK(syscall(SYS_getdents64, end, buf, sizeof buf)) > 0)
				;
			checkpoint();
			EQ(syscall(SYS_getdents64, end, buf, sizeof buf), 0);
		}
		long n = OK(syscall(SYS_getdents64, d, buf, sizeof buf));
		if (!n)
			break;
		for (struct entry *e = (void *)buf; (char *)e < buf + n; e = (void *)((char *)e + e->len)) {
			int i;
			if (sscanf(e->name, "entry-with-a-rather-long-name-%d", &i) != 1)
				continue;
			EQ(seen[i], 0);
			seen[i] = 1;
			count++;
		}
	}
	EQ(count, N);
	return pass();
}
