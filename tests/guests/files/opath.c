/* O_PATH descriptors of a file, a directory and a symbolic link. */
#include "../guest.h"
int main(void)
{
	char to[64] = "";
	struct stat st;
	close(OK(open("f", O_CREAT | O_RDWR, 0600)));
	OK(mkdir("d", 0755));
	OK(symlink("f", "link"));
	int f = OK(open("f", O_PATH)), d = OK(open("d", O_PATH | O_DIRECTORY)), l = OK(open("link", O_PATH | O_NOFOLLOW));
	checkpoint();
	CHECK(fcntl(f, F_GETFL) & O_PATH);
	CHECK(fcntl(d, F_GETFL) & O_PATH);
	CHECK(fcntl(l, F_GETFL) & O_PATH);
	char c;
	ERR(read(f, &c, 1), EBADF);
	OK(fstat(f, &st));
	CHECK(S_ISREG(st.st_mode));
	OK(fstat(l, &st));
	CHECK(S_ISLNK(st.st_mode));
	EQ(readlinkat(l, "", to, sizeof to), 1);
	close(OK(openat(d, "new", O_CREAT | O_RDWR, 0600)));
	OK(access("d/new", F_OK));
	return pass();
}
