/* Listening sockets whose files were renamed, into another directory too, with the old name taken since. */
#include "../unix.h"
static void meet(int l, const char *name)
{
	int c = OK(socket(AF_UNIX, SOCK_STREAM, 0));
	char byte;
	OK(un_connect(c, name));
	int a = OK(accept(l, NULL, NULL));
	EQ(write(c, "x", 1), 1);
	EQ(read(a, &byte, 1), 1);
	close(c), close(a);
}
int main(void)
{
	struct sockaddr_un u;
	socklen_t n = sizeof u;
	struct stat st;
	int l = OK(socket(AF_UNIX, SOCK_STREAM, 0)), m = OK(socket(AF_UNIX, SOCK_STREAM, 0)), k = OK(socket(AF_UNIX, SOCK_STREAM, 0));
	un_bind(l, "old");
	OK(listen(l, 2));
	OK(rename("old", "new"));
	OK(chmod("new", 0640));
	OK(mkdir("folder", 0700));
	un_bind(m, "name");
	OK(listen(m, 2));
	OK(rename("name", "folder/moved"));
	un_bind(k, "name");
	OK(listen(k, 2));
	checkpoint();
	OK(stat("new", &st));
	EQ(st.st_mode, S_IFSOCK | 0640);
	ERR(access("old", F_OK), ENOENT);
	OK(getsockname(l, (void *)&u, &n));
	STR_EQ(u.sun_path, "old");
	meet(l, "new");
	meet(m, "folder/moved");
	meet(k, "name");
	return pass();
}
