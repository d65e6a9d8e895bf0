/* Records of sequenced packets and datagrams keep their borders, empty ones too, also when the sender is gone. */
#include "../unix.h"
int main(void)
{
	static const int types[] = {SOCK_SEQPACKET, SOCK_DGRAM};
	int s[2][2], gone[2];
	static char big[100000], buf[100001];
	memset(big, 'b', sizeof big);
	for (int i = 0; i < 2; i++) {
		int size = 1 << 20;
		OK(socketpair(AF_UNIX, types[i], 0, s[i]));
		OK(setsockopt(s[i][0], SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size));
		EQ(send(s[i][0], "", 0, 0), 0);
		EQ(send(s[i][0], "one", 3, 0), 3);
		EQ(send(s[i][0], "", 0, 0), 0);
		EQ(send(s[i][0], big, sizeof big, 0), sizeof big);
		EQ(send(s[i][0], "", 0, 0), 0);
	}
	OK(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, gone));
	EQ(send(gone[0], "x", 1, 0), 1);
	EQ(send(gone[0], "yz", 2, 0), 2);
	close(gone[0]);
	checkpoint();
	for (int i = 0; i < 2; i++) {
		EQ(recv(s[i][1], buf, sizeof buf, MSG_DONTWAIT), 0);
		EQ(recv(s[i][1], buf, sizeof buf, MSG_DONTWAIT), 3);
		EQ(recv(s[i][1], buf, sizeof buf, MSG_DONTWAIT), 0);
		EQ(recv(s[i][1], buf, sizeof buf, MSG_DONTWAIT), sizeof big);
		CHECK(!memcmp(buf, big, sizeof big));
		EQ(recv(s[i][1], buf, sizeof buf, MSG_DONTWAIT), 0);
		ERR(recv(s[i][1], buf, sizeof buf, MSG_DONTWAIT), EAGAIN);
	}
	EQ(recv(gone[1], buf, sizeof buf, 0), 1);
	EQ(recv(gone[1], buf, sizeof buf, 0), 2);
	EQ(recv(gone[1], buf, sizeof buf, 0), 0);
	return pass();
}
