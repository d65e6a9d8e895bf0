/* Processes in a jail without /proc, with what is set by files of /proc and what is opened by paths outside of it; two of
   them share their directories (CLONE_FS). */
#include "../guest.h"
#include <stdatomic.h>
static char stack[64 << 10];
static _Atomic int *there;
static sigset_t usr1;
static void await_signal(void)
{
	int signal;
	++*there;
	OK(sigwait(&usr1, &signal));
	ERR(access("/proc", F_OK), ENOENT);
}
static int sharer(void *file)
{
	struct stat at, in;
	await_signal();
	EQ(memcmp(file, "mapped", 6), 0);
	OK(stat("/in", &in));
	OK(stat(".", &at));
	EQ(at.st_ino, in.st_ino);
	/* Where one goes the other is. */
	OK(chdir("/"));
	return 0;
}
static void jailed(void *file)
{
	struct stat at, root;
	pid_t pid = OK(clone(sharer, stack + sizeof stack, CLONE_FS | SIGCHLD, file));
	OK(chroot("jail"));
	OK(chdir("/in"));
	umask(031);
	await_signal();
	EQ(memcmp(file, "mapped", 6), 0);
	EQ(umask(0), 031);
	OK(kill(pid, SIGUSR1));
	reap_ok(pid);
	OK(stat("/", &root));
	OK(stat(".", &at));
	EQ(at.st_ino, root.st_ino);
	_exit(0);
}
static void adjusted(pid_t pid, const char *to)
{
	char path[64], text[16] = "";
	snprintf(path, sizeof path, "/proc/%d/oom_score_adj", (int)pid);
	if (to)
		OK(put(path, to));
	int fd = OK(open(path, O_RDONLY));
	CHECK(read(fd, text, sizeof text - 1) > 0);
	close(fd);
	STR_EQ(text, "345\n");
}
int main(void)
{
	OK(mkdir("jail", 0755));
	OK(mkdir("jail/in", 0755));
	int file = OK(open("file", O_RDWR | O_CREAT, 0644));
	EQ(write(file, "mapped", 6), 6);
	void *mapped = map(PAGE, PROT_READ, MAP_PRIVATE, file, 0);
	close(file);
	there = map(PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	sigemptyset(&usr1);
	sigaddset(&usr1, SIGUSR1);
	OK(sigprocmask(SIG_BLOCK, &usr1, NULL));
	pid_t pid = OK(fork());
	if (!pid)
		jailed(mapped);
	adjusted(pid, "345");
	while (*there < 2)
		sched_yield();
	checkpoint();
	adjusted(pid, NULL);
	CHECK(access("/proc/self", F_OK) == 0);
	OK(kill(pid, SIGUSR1));
	reap_ok(pid);
	return pass();
}
