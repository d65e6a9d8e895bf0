/* A userfaultfd before UFFDIO_API that two processes have: nobody can tell whose memory it watches. */
#include "../uffd.h"
int main(void)
{
	int fd = uffd_bare(O_CLOEXEC | O_NONBLOCK);
	pid_t child = OK(fork());
	if (!child) {
		wait_go();
		_exit(0);
	}
	checkpoint();
	struct uffdio_api api = { .api = UFFD_API };
	OK(ioctl(fd, UFFDIO_API, &api));
	reap_ok(child);
	return pass();
}
