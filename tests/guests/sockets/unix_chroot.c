/* A socket that a process with another root directory has bound. */
#include "../unix.h"
int main(void)
{
	char byte;
	OK(mkdir("jail", 0755));
	OK(mkdir("jail/run", 0755));
	int l = OK(socket(AF_UNIX, SOCK_STREAM, 0)), gone = OK(socket(AF_UNIX, SOCK_DGRAM, 0));
	pid_t kid = OK(fork());
	if (!kid) {
		OK(chroot("jail"));
		OK(chdir("/"));
		un_bind(l, "/run/sock");
		OK(listen(l, 3));
		un_bind(gone, "/run/gone");
		OK(unlink("/run/gone"));
		OK(mkdir("/ready", 0700));
		int a;
		while ((a = accept(l, NULL, NULL)) < 0)
			if (errno != EINTR)
				_exit(1);
		_exit(write(a, "y", 1) != 1);
	}
	while (access("jail/ready", F_OK))
		usleep(100);
	close(l);
	checkpoint();
	int c = OK(socket(AF_UNIX, SOCK_STREAM, 0));
	OK(un_connect(c, "jail/run/sock"));
	EQ(read(c, &byte, 1), 1);
	reap_ok(kid);
	struct sockaddr_un u;
	socklen_t n = sizeof u;
	OK(getpeername(c, (void *)&u, &n));
	STR_EQ(u.sun_path, "/run/sock");
	n = sizeof u;
	OK(getsockname(gone, (void *)&u, &n));
	STR_EQ(u.sun_path, "/run/gone");
	ERR(access("jail/run/gone", F_OK), ENOENT);
	return pass();
}
