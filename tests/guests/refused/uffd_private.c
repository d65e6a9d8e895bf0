/* A private mapping of a memory file that is registered: refused by name. */
#include "../uffd.h"
int main(void)
{
	int fd = uffd(O_CLOEXEC | O_NONBLOCK, UFFD_FEATURE_MISSING_SHMEM);
	int file = OK(memfd_create("private", MFD_CLOEXEC));
	OK(ftruncate(file, PAGE));
	char *at = map(PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, file, 0);
	uffd_register(fd, at, PAGE, UFFDIO_REGISTER_MODE_MISSING);
	checkpoint();
	uffd_copy(fd, at, 4);
	filled(at, PAGE, 4, "a page by copy");
	return pass();
}
