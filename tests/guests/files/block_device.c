/* A block device: offset, flags, what it holds. */
#include "../files.h"
#include <linux/loop.h>
int main(void)
{
	char path[64], *block = malloc(PAGE);
	int image = OK(open("image", O_CREAT | O_RDWR, 0600)), control = open("/dev/loop-control", O_RDWR);
	OK(ftruncate(image, 1 << 20));
	if (control < 0)
		SKIP("no loop devices: %s", strerror(errno));
	int number = ioctl(control, LOOP_CTL_GET_FREE);
	if (number < 0)
		SKIP("no free loop device: %s", strerror(errno));
	close(control);
	snprintf(path, sizeof path, "/dev/loop%d", number);
	int dev = open(path, O_RDWR);
	if (dev < 0)
		SKIP("%s: %s", path, strerror(errno));
	if (ioctl(dev, LOOP_SET_FD, image))
		SKIP("%s: %s", path, strerror(errno));
	close(image);
	struct loop_info64 info = {.lo_flags = LO_FLAGS_AUTOCLEAR};
	(void)info;
	fill(block, PAGE, 4);
	EQ(pwrite(dev, block, PAGE, 8192), PAGE);
	int r = OK(open(path, O_RDONLY | O_NONBLOCK)), flags = OK(fcntl(r, F_GETFL));
	EQ(lseek(r, 8192, SEEK_SET), 8192);
	checkpoint();
	EQ(fcntl(r, F_GETFL), flags);
	CHECK(S_ISBLK(stat_of(dev).st_mode));
	memset(block, 0, PAGE);
	EQ(read(r, block, PAGE), PAGE);
	filled(block, PAGE, 4, "the block device");
	EQ(pwrite(dev, "new", 3, 0), 3);
	OK(ioctl(dev, LOOP_CLR_FD, 0));
	return pass();
}
