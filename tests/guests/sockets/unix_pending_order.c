/* Several connections that wait to be accepted keep their order; two listening sockets. */
#include "../unix.h"
int main(void)
{
	int l[2], c[2][4];
	for (int i = 0; i < 2; i++) {
		char name[8] = {'l', '0' + i};
		l[i] = OK(socket(AF_UNIX, i ? SOCK_SEQPACKET : SOCK_STREAM, 0));
		un_bind(l[i], name);
		OK(listen(l[i], 5));
		for (int k = 0; k < 4; k++)
			c[i][k] = OK(socket(AF_UNIX, i ? SOCK_SEQPACKET : SOCK_STREAM, 0));
	}
	static const int order[] = {2, 0, 3, 1};
	for (int i = 0; i < 2; i++)
		for (int k = 0; k < 4; k++) {
			char name[8] = {'l', '0' + i};
			OK(un_connect(c[i][order[k]], name));
		}
	checkpoint();
	for (int i = 0; i < 2; i++)
		for (int k = 0; k < 4; k++) {
			char byte = '0' + order[k], got = 0;
			int a = OK(accept(l[i], NULL, NULL));
			EQ(write(c[i][order[k]], &byte, 1), 1);
			EQ(recv(a, &got, 1, MSG_DONTWAIT), 1);
			EQ(got, byte);
			close(a);
		}
	return pass();
}
