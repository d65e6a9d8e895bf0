/* Relative names, bound in directories that are not the current one any more, in several spellings. */
#include "../unix.h"
static int bound(const char *name)
{
	int fd = OK(socket(AF_UNIX, SOCK_DGRAM, 0));
	un_bind(fd, name);
	return fd;
}
static void check(int fd, const char *name, const char *path)
{
	struct sockaddr_un u;
	socklen_t n = sizeof u;
	char byte;
	OK(getsockname(fd, (void *)&u, &n));
	STR_EQ(u.sun_path, name);
	n = un_name(&u, path);
	int s = OK(socket(AF_UNIX, SOCK_DGRAM, 0));
	EQ(sendto(s, "1", 1, 0, (void *)&u, n), 1);
	EQ(recv(fd, &byte, 1, MSG_DONTWAIT), 1);
	close(s);
}
int main(void)
{
	OK(mkdir("a", 0700));
	OK(mkdir("a/b", 0700));
	OK(mkdir("gone", 0700));
	OK(chdir("a"));
	int plain = bound("plain"), dot = bound("./dot"), below = bound("b/below"), twice = bound("b//twice"), over = bound("b/../over");
	OK(chdir("b"));
	int up = bound("../up");
	OK(chdir("../../gone"));
	int left = bound("../left");
	OK(rmdir("../gone"));
	checkpoint();
	OK(chdir(guest_dir));
	check(plain, "plain", "a/plain");
	check(dot, "./dot", "a/dot");
	check(below, "b/below", "a/b/below");
	check(twice, "b//twice", "a/b/twice");
	check(over, "b/../over", "a/over");
	check(up, "../up", "a/up");
	check(left, "../left", "left");
	return pass();
}
