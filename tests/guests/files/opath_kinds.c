/* O_PATH descriptions of what other kinds serve when it is open for real; one has lost a hard link. */
#include "../guest.h"
#include <sys/un.h>
int main(void)
{
	struct sockaddr_un name = {.sun_family = AF_UNIX, .sun_path = "socket"};
	struct stat before[4], now;
	int fds[4], sock = OK(socket(AF_UNIX, SOCK_STREAM, 0));
	OK(bind(sock, (void *)&name, sizeof name));
	close(sock);
	OK(mkfifo("fifo", 0600));
	OK(mkfifo("linked", 0600));
	OK(link("linked", "kept"));
	fds[0] = OK(open("fifo", O_PATH));
	fds[1] = OK(open("socket", O_PATH));
	fds[2] = OK(open("/dev/ptmx", O_PATH));
	fds[3] = OK(open("linked", O_PATH));
	OK(unlink("linked"));
	for (int i = 0; i < 4; i++)
		OK(fstat(fds[i], &before[i]));
	checkpoint();
	for (int i = 0; i < 4; i++) {
		OK(fstat(fds[i], &now));
		EQ(now.st_ino, before[i].st_ino);
		EQ(now.st_mode, before[i].st_mode);
		EQ(now.st_nlink, before[i].st_nlink);
		CHECK(fcntl(fds[i], F_GETFL) & O_PATH);
	}
	return pass();
}
