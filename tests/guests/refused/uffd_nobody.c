/* A range that is registered with a userfaultfd which a process outside of the tree has, and nobody in the tree: refused
   by name, although the tree has another one. */
#include "../uffd_away.h"
int main(void)
{
	int pair[2];
	OK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair));
	struct latch ready = latch_new();
	pid_t away = go_away();
	if (!away) {
		struct pollfd p = { pair[0], POLLIN, 0 };
		EQ(poll(&p, 1, 60000), 1);
		recv_right(pair[0], "fd");
		latch_open(ready);
		stay_away();
	}
	char *at = map(PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int own = uffd(O_CLOEXEC | O_NONBLOCK, 0);
	int fd = uffd(O_CLOEXEC | O_NONBLOCK, 0);
	uffd_register(fd, at, PAGE, UFFDIO_REGISTER_MODE_MISSING);
	send_right(pair[1], "fd", fd);
	latch_wait(ready);
	close(fd);
	close(pair[0]);
	close(pair[1]);
	checkpoint();
	CHECK(vm_flag(at, "um"));
	EQ(pagemap(at), 0);
	CHECK(uffd_quiet(own));
	OK(kill(away, SIGKILL));
	return pass();
}
