/* A listening socket whose file was renamed. */
#include "../unix.h"
int main(void)
{
	int l = OK(socket(AF_UNIX, SOCK_STREAM, 0)), c = OK(socket(AF_UNIX, SOCK_STREAM, 0));
	un_bind(l, "old");
	OK(listen(l, 2));
	OK(rename("old", "new"));
	checkpoint();
	OK(un_connect(c, "new"));
	return pass();
}
