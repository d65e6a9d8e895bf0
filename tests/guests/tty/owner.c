/* The owner and the mode of a slave's node. */
#include "../guest.h"
#include <pty.h>
int main(void)
{
	int m[2], s[2];
	char name[2][64];
	struct stat a[2], b;
	for (int i = 0; i < 2; i++)
		OK(openpty(&m[i], &s[i], name[i], NULL, NULL));
	OK(chown(name[0], 12, 34));
	OK(chmod(name[0], 0640));
	OK(fchmod(s[1], 0));
	for (int i = 0; i < 2; i++)
		OK(stat(name[i], &a[i]));
	checkpoint();
	for (int i = 0; i < 2; i++) {
		OK(fstat(s[i], &b));
		EQ(b.st_uid, a[i].st_uid);
		EQ(b.st_gid, a[i].st_gid);
		EQ(b.st_mode, a[i].st_mode);
		EQ(b.st_rdev, a[i].st_rdev);
		STR_EQ(ttyname(s[i]), name[i]);
	}
	return pass();
}
