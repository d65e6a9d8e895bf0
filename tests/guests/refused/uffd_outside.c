/* A userfaultfd that watches the memory of a process outside of the tree: refused by name. */
#include "../uffd_away.h"
int main(void)
{
	int pair[2];
	OK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair));
	struct latch ready = latch_new();
	pid_t away = go_away();
	if (!away) {
		char *at = map(PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		int fd = uffd(O_CLOEXEC | O_NONBLOCK, 0);
		uffd_register(fd, at, PAGE, UFFDIO_REGISTER_MODE_MISSING);
		send_right(pair[1], "fd", fd);
		latch_open(ready);
		stay_away();
	}
	latch_wait(ready);
	int fd = recv_right(pair[0], "fd");
	close(pair[0]);
	close(pair[1]);
	checkpoint();
	EQ(uffd_features(fd) & 0xffff, 0);
	OK(kill(away, SIGKILL));
	return pass();
}
