/* A userfaultfd that watches the memory of a child that has ended: refused by name. */
#include "../uffd_away.h"
int main(void)
{
	int pair[2];
	OK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair));
	pid_t child = OK(fork());
	if (!child) {
		int fd = uffd(O_CLOEXEC | O_NONBLOCK, 0);
		send_right(pair[1], "fd", fd);
		_exit(0);
	}
	reap_ok(child);
	int fd = recv_right(pair[0], "fd");
	close(pair[0]);
	close(pair[1]);
	checkpoint();
	EQ(uffd_features(fd) & 0xffff, 0);
	return pass();
}
