/* A pair of another instance of devpts alone, mounted beside the usual one. */
#include "../guest.h"
#include <sys/mount.h>
#include <termios.h>
int main(void)
{
	int n;
	char path[64], c;
	OK(mkdir("pts", 0755));
	if (mount("devpts", "pts", "devpts", 0, "newinstance,ptmxmode=0666,mode=620"))
		SKIP("no instance of devpts can be mounted: %s", strerror(errno));
	int m = OK(open("pts/ptmx", O_RDWR | O_NOCTTY));
	OK(ioctl(m, TIOCSPTLCK, (int[]){ 0 }));
	OK(ioctl(m, TIOCGPTN, &n));
	snprintf(path, sizeof path, "pts/%d", n);
	int s = OK(open(path, O_RDWR | O_NOCTTY));
	EQ(write(s, "o", 1), 1);
	checkpoint();
	struct stat a, b;
	OK(stat(path, &a));
	OK(fstat(s, &b));
	EQ(a.st_dev, b.st_dev);
	EQ(a.st_rdev, b.st_rdev);
	EQ(read(m, &c, 1), 1);
	EQ(write(m, "x\n", 2), 2);
	EQ(read(s, &c, 1), 1);
	EQ(c, 'x');
	close(m);
	close(s);
	OK(umount2("pts", MNT_DETACH));
	return pass();
}
