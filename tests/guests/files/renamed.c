/* Files and directories that were renamed after they were opened; names with odd bytes. */
#include "../guest.h"
int main(void)
{
	char buf[8] = "";
	OK(mkdir("d1", 0755));
	int a = OK(open("d1/a", O_CREAT | O_RDWR, 0600));
	EQ(write(a, "moved", 5), 5);
	OK(rename("d1/a", "d1/b"));
	OK(rename("d1", "d2"));
	int odd = OK(open("od d\n\\\"\xff", O_CREAT | O_RDWR, 0600));
	int del = OK(open("ends (deleted)", O_CREAT | O_RDWR, 0600)); /* a name, not a mark */
	EQ(write(del, "alive", 5), 5);
	checkpoint();
	EQ(pread(a, buf, 5, 0), 5);
	STR_EQ(buf, "moved");
	struct stat x, y;
	OK(fstat(a, &x));
	OK(stat("d2/b", &y));
	EQ(x.st_ino, y.st_ino);
	OK(fstat(odd, &x));
	EQ(x.st_nlink, 1);
	OK(fstat(del, &x));
	OK(stat("ends (deleted)", &y));
	EQ(x.st_ino, y.st_ino);
	EQ(x.st_nlink, 1);
	return pass();
}
