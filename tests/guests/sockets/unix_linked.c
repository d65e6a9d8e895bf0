/* A name that was removed while another link of its file is left beside it. */
#include "../unix.h"
int main(void)
{
	int l = OK(socket(AF_UNIX, SOCK_STREAM, 0)), c = OK(socket(AF_UNIX, SOCK_STREAM, 0));
	un_bind(l, "first");
	OK(listen(l, 2));
	OK(link("first", "second"));
	OK(unlink("first"));
	checkpoint();
	ERR(access("first", F_OK), ENOENT);
	OK(un_connect(c, "second"));
	OK(accept(l, NULL, NULL));
	return pass();
}
