/* Names whose files were deleted together with their directory. */
#include "../unix.h"
int main(void)
{
	char buf[8] = "";
	struct sockaddr_un name = {0};
	socklen_t size = sizeof name;
	OK(mkdir("outer", 0700));
	OK(mkdir("outer/inner", 0700));
	int l = OK(socket(AF_UNIX, SOCK_STREAM, 0)), c = OK(socket(AF_UNIX, SOCK_STREAM, 0));
	un_bind(l, "outer/inner/name");
	OK(listen(l, 2));
	OK(un_connect(c, "outer/inner/name"));
	int a = OK(accept(l, NULL, NULL));
	OK(unlink("outer/inner/name"));
	OK(rmdir("outer/inner"));
	OK(rmdir("outer"));
	checkpoint();
	EQ(write(a, "on", 2), 2);
	EQ(read(c, buf, 8), 2);
	STR_EQ(buf, "on");
	OK(getsockname(l, (void *)&name, &size));
	STR_EQ(name.sun_path, "outer/inner/name");
	ERR(access("outer", F_OK), ENOENT);
	return pass();
}
