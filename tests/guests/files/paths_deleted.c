/* Deleted files with odd names: of 255 bytes, with blanks and line ends, ending in "(deleted)", beginning like those of
 * other kinds. */
#include "../files.h"
#define N 8
int main(void)
{
	static char longest[256], almost[256];
	memset(longest, 'n', 255);
	memset(almost, 'm', 254);
	const char *names[N] = {longest, almost, "a b\tc\nd", "x (deleted)", "\xff\xfe\x01", "memfd:x", "SYSV00000000", ".nfs000123"};
	int fds[N];
	for (int i = 0; i < N; i++) {
		fds[i] = made(names[i], O_RDWR, 0600, "odd");
		OK(unlink(names[i]));
	}
	int again = made(longest, O_RDWR, 0600, "taken");
	checkpoint();
	for (int i = 0; i < N; i++) {
		holds(fds[i], "odd");
		EQ(stat_of(fds[i]).st_nlink, 0);
		if (i)
			ERR(access(names[i], F_OK), ENOENT);
	}
	holds(again, "taken");
	return pass();
}
