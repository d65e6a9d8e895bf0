/* Listening sockets by relative path, absolute path and abstract name; established connections through them. */
#include "../unix.h"
int main(void)
{
	char abs[PATH_MAX], abstract[64], buf[8];
	snprintf(abs, sizeof abs, "%s/abs", guest_dir);
	snprintf(abstract, sizeof abstract, "@guest-%d", getpid());
	const char *names[] = { "rel", abs, abstract };
	int l[3], c[3], a[3];
	for (int i = 0; i < 3; i++) {
		l[i] = OK(socket(AF_UNIX, i == 1 ? SOCK_SEQPACKET : SOCK_STREAM, 0));
		un_bind(l[i], names[i]);
		OK(listen(l[i], 5 + i));
		c[i] = OK(socket(AF_UNIX, i == 1 ? SOCK_SEQPACKET : SOCK_STREAM, 0));
		OK(un_connect(c[i], names[i]));
		a[i] = OK(accept(l[i], NULL, NULL));
		EQ(write(c[i], "queued", 6), 6);
	}
	OK(chmod("rel", 0604));
	checkpoint();
	struct stat st;
	OK(stat("rel", &st));
	EQ(st.st_mode, S_IFSOCK | 0604);
	for (int i = 0; i < 3; i++) {
		struct sockaddr_un u, want;
		socklen_t n = sizeof u, wn = un_name(&want, names[i]);
		(void)wn;
		OK(getpeername(c[i], (void *)&u, &n));
		CHECK(!memcmp(u.sun_path, want.sun_path, strlen(names[i])));
		n = sizeof u;
		OK(getsockname(l[i], (void *)&u, &n));
		CHECK(!memcmp(u.sun_path, want.sun_path, strlen(names[i])));
		EQ(read(a[i], buf, 8), 6);
		EQ(write(a[i], "reply", 5), 5);
		EQ(read(c[i], buf, 8), 5);
		int v;
		socklen_t vn = sizeof v;
		OK(getsockopt(l[i], SOL_SOCKET, SO_ACCEPTCONN, &v, &vn));
		EQ(v, 1);
		int more = OK(socket(AF_UNIX, i == 1 ? SOCK_SEQPACKET : SOCK_STREAM, 0));
		OK(un_connect(more, names[i]));
		int b = OK(accept(l[i], NULL, NULL));
		EQ(write(more, "new", 3), 3);
		EQ(read(b, buf, 8), 3);
	}
	return pass();
}
