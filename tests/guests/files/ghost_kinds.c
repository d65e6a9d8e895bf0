/* Deleted files of every type, held by their path alone: type, mode, owner, number of a device, target of a link. */
#include "../files.h"
#include <sys/sysmacros.h>
#include <sys/un.h>
#define N 7
int main(void)
{
	static const char *const names[N] = {"regular", "directory", "fifo", "socket", "char", "block", "symlink"};
	struct stat before[N], now;
	char target[64] = "";
	int fds[N];
	close(made("regular", O_RDWR, 0644, "text"));
	OK(mkdir("directory", 0750));
	OK(mkfifo("fifo", 0620));
	struct sockaddr_un un = {.sun_family = AF_UNIX, .sun_path = "socket"};
	int sock = OK(socket(AF_UNIX, SOCK_STREAM, 0));
	OK(bind(sock, (void *)&un, sizeof un));
	close(sock);
	OK(mknod("char", S_IFCHR | 0660, makedev(259, 70001)));
	OK(mknod("block", S_IFBLK | 0604, makedev(259, 300)));
	OK(symlink("to/no where", "symlink"));
	for (int i = 0; i < N; i++) {
		OK(lchown(names[i], 1000 + i, 2000 + i));
		fds[i] = OK(open(names[i], O_PATH | O_NOFOLLOW));
	}
	for (int i = 0; i < N; i++)
		OK(i == 1 ? rmdir(names[i]) : unlink(names[i]));
	for (int i = 0; i < N; i++)
		before[i] = stat_of(fds[i]);
	checkpoint();
	for (int i = 0; i < N; i++) {
		now = stat_of(fds[i]);
		EQ(now.st_mode, before[i].st_mode);
		EQ(now.st_uid, before[i].st_uid);
		EQ(now.st_gid, before[i].st_gid);
		EQ(now.st_rdev, before[i].st_rdev);
		EQ(now.st_nlink, 0);
		EQ(now.st_mtim.tv_sec, before[i].st_mtim.tv_sec);
		CHECK(fcntl(fds[i], F_GETFL) & O_PATH);
		ERR(access(names[i], F_OK), ENOENT);
	}
	EQ(readlinkat(fds[6], "", target, sizeof target - 1), 11);
	STR_EQ(target, "to/no where");
	return pass();
}
