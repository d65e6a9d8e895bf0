/* Urgent data that was not read: what lies behind its mark does not show. */
#include "../inet.h"
int main(void)
{
	char buf[16];
	int l = listener(AF_INET, 2), c, s;
	tcp_pair(AF_INET, l, &c, &s);
	close(l);
	close(0);
	EQ(dup(s), 0);
	write_all(c, "before", 6);
	EQ(send(c, "!", 1, MSG_OOB), 1);
	write_all(c, "behind", 6);
	EQ(recv(s, buf, 1, MSG_OOB), 1); /* read, but its mark is still there */
	checkpoint();
	read_all(s, buf, 12);
	EQ(memcmp(buf, "beforebehind", 12), 0);
	return pass();
}
