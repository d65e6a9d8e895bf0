/* Datagrams from senders that are closed: their names stand in the queue. */
#include "../unix.h"
static void expect(int fd, char byte, const char *name)
{
	struct sockaddr_un from, want;
	socklen_t n = sizeof from;
	char got = 0;
	memset(&from, 0, sizeof from);
	EQ(recvfrom(fd, &got, 1, MSG_DONTWAIT, (void *)&from, &n), 1);
	EQ(got, byte);
	if (!name) {
		EQ(n, 0);
		return;
	}
	un_name(&want, name);
	CHECK(!memcmp(from.sun_path, want.sun_path, strlen(name)));
}
int main(void)
{
	char abstract[64], absolute[PATH_MAX];
	snprintf(abstract, sizeof abstract, "@sender-%d", getpid());
	snprintf(absolute, sizeof absolute, "%s/absolute", guest_dir);
	const char *names[] = {"relative", abstract, absolute, NULL, "relative"};
	int r = OK(socket(AF_UNIX, SOCK_DGRAM, 0)), left = OK(socket(AF_UNIX, SOCK_DGRAM, 0));
	un_bind(r, "receiver");
	for (int i = 0; i < 5; i++) {
		char byte = '0' + i;
		int s = OK(socket(AF_UNIX, SOCK_DGRAM, 0));
		if (names[i])
			un_bind(s, names[i]);
		OK(un_connect(s, "receiver"));
		EQ(write(s, &byte, 1), 1);
		close(s);
		if (names[i] && names[i] != abstract)
			OK(unlink(names[i]));
	}
	un_bind(left, "left");
	OK(un_connect(left, "receiver"));
	EQ(write(left, "5", 1), 1);
	checkpoint();
	for (int i = 0; i < 5; i++)
		expect(r, '0' + i, names[i]);
	expect(r, '5', "left");
	ERR(access("relative", F_OK), ENOENT);
	ERR(access("absolute", F_OK), ENOENT);
	return pass();
}
