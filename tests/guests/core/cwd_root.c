/* Working directories and a changed root, process by process. */
#include "../guest.h"
int main(void)
{
	OK(mkdir("jail", 0755));
	OK(mkdir("jail/in", 0755));
	OK(mkdir("sub dir", 0755));
	struct latch l = latch_new();
	pid_t a = OK(fork());
	if (!a) {
		OK(chdir("sub dir"));
		latch_open(l);
		wait_go();
		char *cwd = getcwd(NULL, 0);
		CHECK(cwd && strstr(cwd, "/sub dir"));
		_exit(0);
	}
	sigset_t m;
	sigemptyset(&m);
	sigaddset(&m, SIGUSR1);
	sigprocmask(SIG_BLOCK, &m, NULL);
	pid_t b = OK(fork());
	if (!b) { /* the parent's cwd is outside of the new root, this one's inside */
		char inside[PATH_MAX];
		OK(chroot("jail"));
		OK(chdir("/in"));
		OK(mkdir("set", 0755));
		/* the go FIFO is out of reach: wait for the signal that the parent sends */
		int s;
		sigwait(&m, &s);
		if (!getcwd(inside, sizeof inside) || strcmp(inside, "/in") || access("/in", F_OK) || !access("/jail", F_OK))
			_exit(1);
		_exit(0);
	}
	latch_wait(l);
	while (access("jail/in/set", F_OK))
		usleep(100);
	checkpoint();
	char *cwd = getcwd(NULL, 0);
	STR_EQ(cwd, guest_dir);
	reap_ok(a);
	OK(kill(b, SIGUSR1));
	reap_ok(b);
	return pass();
}
