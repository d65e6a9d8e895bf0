/* Secret memory. */
#include "../guest.h"
int main(void)
{
	int fd = syscall(447 /* memfd_secret */, 0);
	if (fd < 0)
		SKIP("the kernel has no memfd_secret");
	OK(ftruncate(fd, PAGE));
	char *p = map(PAGE, 3, MAP_SHARED, fd, 0);
	close(fd);
	*p = 's';
	checkpoint();
	EQ(*p, 's');
	return pass();
}
