/* Files of all types and file systems of all sorts: those whose handles open, and those whose do not. */
#include "../notify.h"
#include <sys/sysmacros.h>
#include <sys/un.h>
int main(void)
{
	int fd = OK(inotify_init1(IN_NONBLOCK));
	char shm[64];
	snprintf(shm, sizeof shm, "/dev/shm/criu-test-%d", (int)getpid());
	OK(mkdir(shm, 0700));
	OK(mkfifo("fifo", 0600));
	OK(mknod("null", S_IFCHR | 0600, makedev(1, 3)));
	int s = OK(socket(AF_UNIX, SOCK_STREAM, 0));
	struct sockaddr_un u = { AF_UNIX, "sock" };
	OK(bind(s, (void *)&u, sizeof u));
	OK(close(s));
	OK(mkdir("a name with spaces\n", 0700));
	int fifo = OK(inotify_add_watch(fd, "fifo", IN_ATTRIB));
	int null = OK(inotify_add_watch(fd, "null", IN_ATTRIB));
	int sock = OK(inotify_add_watch(fd, "sock", IN_ATTRIB));
	int spaces = OK(inotify_add_watch(fd, "a name with spaces\n", IN_CREATE));
	int memory = OK(inotify_add_watch(fd, shm, IN_CREATE));
	static const char *const others[] = { "/", "/dev", "/dev/null", "/dev/pts", "/dev/shm", "/proc", "/proc/sys",
					      "/sys", "/sys/kernel", "/sys/fs/cgroup", "/etc/passwd" };
	for (size_t i = 0; i < sizeof others / sizeof *others; i++)
		OK(inotify_add_watch(fd, others[i], IN_DELETE_SELF));
	const char *before = watched(fd);
	checkpoint();
	STR_EQ(watched(fd), before);
	quiet(fd);
	OK(chmod("fifo", 0640));
	EVENT(fd, fifo, IN_ATTRIB, "");
	OK(chmod("null", 0640));
	EVENT(fd, null, IN_ATTRIB, "");
	OK(chmod("sock", 0640));
	EVENT(fd, sock, IN_ATTRIB, "");
	touch("a name with spaces\n/x");
	EVENT(fd, spaces, IN_CREATE, "x");
	strcat(shm, "/x");
	touch(shm);
	EVENT(fd, memory, IN_CREATE, "x");
	quiet(fd);
	OK(unlink(shm));
	*strrchr(shm, '/') = 0;
	OK(rmdir(shm));
	return pass();
}
