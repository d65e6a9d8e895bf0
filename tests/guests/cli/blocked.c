/* Three things that a dump refuses without its options: a file lock, and both ends of a connection. */
#include "../guest.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/file.h>
int main(void)
{
	int file = OK(open("locked", O_RDWR | O_CREAT, 0600));
	OK(flock(file, LOCK_EX));
	int listener = OK(socket(AF_INET, SOCK_STREAM, 0));
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	OK(bind(listener, (struct sockaddr *)&at, sizeof at));
	OK(listen(listener, 1));
	socklen_t len = sizeof at;
	OK(getsockname(listener, (struct sockaddr *)&at, &len));
	int client = OK(socket(AF_INET, SOCK_STREAM, 0));
	OK(connect(client, (struct sockaddr *)&at, sizeof at));
	int server = OK(accept(listener, NULL, NULL));
	checkpoint();
	char byte = 'x';
	EQ(write(client, &byte, 1), 1);
	EQ(read(server, &byte, 1), 1);
	return pass();
}
