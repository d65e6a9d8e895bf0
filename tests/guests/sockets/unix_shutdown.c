/* Half-closed and closed connections: what was queued can be read, then the end is seen. */
#include "../guest.h"
int main(void)
{
	int wr[2], rd[2], gone[2];
	char buf[16];
	signal(SIGPIPE, SIG_IGN);
	OK(socketpair(AF_UNIX, SOCK_STREAM, 0, wr));
	OK(socketpair(AF_UNIX, SOCK_STREAM, 0, rd));
	OK(socketpair(AF_UNIX, SOCK_STREAM, 0, gone));
	EQ(write(wr[0], "last", 4), 4);
	OK(shutdown(wr[0], SHUT_WR));
	OK(shutdown(rd[0], SHUT_RD));
	EQ(write(gone[1], "left", 4), 4);
	close(gone[1]);
	checkpoint();
	EQ(read(wr[1], buf, 16), 4);
	EQ(read(wr[1], buf, 16), 0);
	ERR(write(wr[0], "x", 1), EPIPE);
	EQ(write(wr[1], "back", 4), 4);
	EQ(read(wr[0], buf, 16), 4);
	EQ(read(rd[0], buf, 16), 0);
	ERR(write(rd[1], "x", 1), EPIPE);
	EQ(write(rd[0], "ok", 2), 2);
	EQ(read(rd[1], buf, 16), 2);
	EQ(read(gone[0], buf, 16), 4);
	EQ(read(gone[0], buf, 16), 0);
	ERR(write(gone[0], "x", 1), EPIPE);
	return pass();
}
