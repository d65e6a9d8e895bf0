/* A connection that was not accepted yet. */
#include "../unix.h"
int main(void)
{
	char buf[8];
	int l = OK(socket(AF_UNIX, SOCK_STREAM, 0)), c = OK(socket(AF_UNIX, SOCK_STREAM, 0));
	un_bind(l, "name");
	OK(listen(l, 5));
	OK(un_connect(c, "name"));
	checkpoint();
	struct pollfd p = { l, POLLIN, 0 };
	EQ(poll(&p, 1, 0), 1);
	int a = OK(accept(l, NULL, NULL));
	EQ(write(c, "early", 5), 5);
	EQ(read(a, buf, 8), 5);
	EQ(write(a, "late", 4), 4);
	EQ(read(c, buf, 8), 4);
	return pass();
}
