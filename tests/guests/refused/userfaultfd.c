/* A userfaultfd with a registered range: refused by name. */
#include "../guest.h"
#include <linux/userfaultfd.h>
int main(void)
{
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		SKIP("no userfaultfd: %s", strerror(errno));
	struct uffdio_api api = { .api = UFFD_API };
	OK(ioctl(fd, UFFDIO_API, &api));
	char *at = map(PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct uffdio_register r = { { (uintptr_t)at, PAGE }, UFFDIO_REGISTER_MODE_MISSING, 0 };
	OK(ioctl(fd, UFFDIO_REGISTER, &r));
	checkpoint();
	struct uffdio_zeropage z = { { (uintptr_t)at, PAGE }, 0, 0 };
	OK(ioctl(fd, UFFDIO_ZEROPAGE, &z));
	EQ(at[7], 0);
	return pass();
}
